"""What others push to us: decoded, held against limits, appended, and answered once it is in the store.

A wire format is a module that makes a Delivery of a body. The way of every delivery is reception.py: it bounds what is
held at once, appends, counts what was refused, and says what the sender is answered.
"""
