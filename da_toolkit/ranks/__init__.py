"""The processes of a run: started, joined, watched, and what they exchange."""
