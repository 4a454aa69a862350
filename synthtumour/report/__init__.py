"""report.html: rows of a manifest become figures and one page."""
