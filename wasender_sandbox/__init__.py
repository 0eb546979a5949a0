"""A local WaSender: the gateway's HTTP API as a real server, with a ledger of what "WhatsApp" acknowledged.

Nothing here reaches WhatsApp. It knows neither the queue nor the CRM side and can be used against any client of
the WaSender API.
"""
