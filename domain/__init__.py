"""The rules of ticketing as pure code: facts, the state they fold into, and the decisions that state allows."""
