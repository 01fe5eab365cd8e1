"""Erasing a person's data on request, and forgetting the account 30 days later.

    open -> entombed -> deleted -> executed -> (30 days) -> no row
            tombstones  H-022's    rollups
                        order

Promises: nothing is touched while a table with rows could hold the person's data unknown to us (H-026); what
is entombed is never stored again, whatever is still under way; a crash anywhere is taken up where it stopped.
"""
