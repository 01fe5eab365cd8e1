"""How a tenant comes into being whole, and goes again: what `tenantctl` asks for.

In:  one request with everything a tenant starts with: name, code, default rules, integrations.
Out: the tenant, its rules and its audit row in one transaction; invitations; what a check has to know.

Promise: a tenant is there with all of it or not at all, and the same request again changes nothing.
"""
