"""The controller: which agents are there, what they are told to do, and whether the power followed.

In:  Kafka `agent.status` and `telemetry` (who is alive), `agent.reply` (what became of a command),
     HTTP `POST /internal/dispatch` from the api. Who belongs and may be written to is read from the
     database in the transaction of the dispatch, so that no cache can be out of date.
Out: Kafka `commands`, and the tables agent_session, dispatch, command, command_replies,
     controller_decisions.

Promises: a dispatch that was answered with 200 is in the database, with the inputs that explain it. Its
commands go out at once, and every second again while the agent is connected, until the agent answers or
they expire. A command's state never goes backwards, in whatever order and however often replies come. An
agent has at most one open session. Killed at any point and started again, it goes on from the tables.
"""
