"""The operators' routes: boxes, the waitlist, users, and the audit log of the caller's tenant.

Out: what provisioning answers, as it is; users and the audit log are read and written here.
"""
