"""Sites: places with assets. A box brings its own; others are made here, so that devices have a place.

In:  requests of administrators, of operators through the api, and of people who rename theirs.
Out: rows of site with their audit row. Devices are told with the name of their site.
"""
