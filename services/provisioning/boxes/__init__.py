"""Boxes: pre-created by a person, given their assets, renamed, moved, put out of use; and their mode.

In:  requests of administrators, and of operators through the api.
Out: rows of box, site and device in one transaction with their audit row; the registry topic hears at once.

Promise: a box of the assets file stays the file's; nothing here changes what the file says about it.
"""
