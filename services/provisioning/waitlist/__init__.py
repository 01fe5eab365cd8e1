"""The waitlist: who asked to come in, with which hardware, and what was decided.

In:  applicants, by hand or from a file of JSON lines; an operator's decisions.
Out: rows of waitlist with their audit row, which names the entry and never the applicant.
     On request a notice.
"""
