"""A model fleet that answers Modbus TCP as hardware would: what an agent reads in the demo and in tests.

In: an assets file (the entries with `driver: sunspec`), weather and load of a year.
Out: one TCP port per device with SunSpec registers at 40000; control points act on the model.
Promised: a request sees one consistent image, and the model is as old as that request: nothing ticks
between two of them. Never on a box: nothing else in `edge_agent` imports this package.
"""
