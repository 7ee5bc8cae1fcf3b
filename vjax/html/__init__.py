"""Pages and parts of pages: plain data that templates draw as HTML and SVG."""
