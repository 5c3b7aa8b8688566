"""From the folders of runs to one page: runs → cells → tables and plots → page."""
