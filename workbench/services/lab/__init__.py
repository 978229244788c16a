"""JupyterLab on the notebooks: a folder to work in, a page to start from, and the server on this machine alone."""

from workbench.services.lab.place import Place, place, prefilled
from workbench.services.lab.serving import serve
from workbench.services.lab.start_page import START, write_start_page

__all__ = ["START", "Place", "place", "prefilled", "serve", "write_start_page"]
