"""Installers' routes: the devices of the caller's tenant with their addresses in the customer's network."""
