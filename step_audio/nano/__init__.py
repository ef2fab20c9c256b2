"""nano: the small system that this project trains itself. Only `runtime` and `cli` import it."""
