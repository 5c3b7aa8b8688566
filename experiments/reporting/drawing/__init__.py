"""Pictures of runs: Plotly for the page, Matplotlib for files."""
