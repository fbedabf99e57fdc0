"""The HTTP edge. The only code that knows aiohttp, beside the application factory and the command line."""
