"""The bundled digits; `README.md` names their origin and licence."""
