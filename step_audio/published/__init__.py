"""Published model folders: fetched from a hub, understood from their headers, made loadable."""
