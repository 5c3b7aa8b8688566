"""Pictures of runs: lines and their styles, Plotly for the page, Matplotlib for files."""
