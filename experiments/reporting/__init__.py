"""From folders of runs to a page: rows → ranking → verdict, tables and figures."""
