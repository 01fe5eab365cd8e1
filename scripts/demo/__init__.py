"""`make demo`: the whole platform on this machine, with a small fleet, a dispatcher and a live view."""
