from da_toolkit.api import compare as compare
from da_toolkit.api import load_recipe as load_recipe
from da_toolkit.api import load_run as load_run
from da_toolkit.api import train as train
from da_toolkit.catalogue import list_methods as list_methods

__version__: str
