"""From the folders of runs to one page: runs → rows → ranking → verdict, tables and figures → page."""
