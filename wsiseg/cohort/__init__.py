"""Many slides through one bundle: list them, run them on one machine or many, and say how each ended.

`listing.py` turns arguments into slides (`search.py` folders and patterns, `sheet.py` a CSV list, `ids.py` their
names); `table.py` and `page.py` say how each slide ended, from its run directory and the ledger.
"""

from wsiseg.cohort.listing import CohortSlide, Listing, read_listing
from wsiseg.cohort.page import write_page
from wsiseg.cohort.table import CohortRow, rows_of, write_tables

__all__ = ["CohortRow", "CohortSlide", "Listing", "read_listing", "rows_of", "write_page", "write_tables"]
