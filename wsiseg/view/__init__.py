"""A page on this machine's own address that shows finished runs: the slide, its nuclei and its masks, zoomed to.

`server.py` speaks HTTP and `access.py` says who may ask; `routes.py` maps the few addresses there are to
`library.py` (which runs are shown) and `shown.py` (one run: its picture, mask, density and nuclei). Everything is
read from the deliverables as they are asked for; nothing is written.
"""

from wsiseg.view.library import Library, open_library
from wsiseg.view.routes import Routes
from wsiseg.view.server import ViewServer

__all__ = ["Library", "Routes", "ViewServer", "open_library"]
