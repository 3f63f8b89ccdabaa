"""Where traces go: an OTLP receiver over HTTP, or files."""
