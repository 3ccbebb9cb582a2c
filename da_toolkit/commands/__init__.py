"""What people type: one file a command, thin over the rooms below."""
