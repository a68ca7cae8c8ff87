"""The control stack: everything on the host's side of the wire."""
