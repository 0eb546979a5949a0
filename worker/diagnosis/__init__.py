"""Diagnosis: what is wrong, how that is known, and what to do.

It asks and judges; it changes nothing, and sends nothing but the test messages that it is asked for.
"""
