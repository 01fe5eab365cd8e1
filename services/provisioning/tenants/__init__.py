"""Tenants: organisations whose devices and users see nothing of any other.

In:  requests of administrators. How a tenant is set up whole is `tenant_setup`.
Out: rows of tenant with their audit row. The devices of a disabled tenant are told as disabled.
"""
