"""The WaSender client: speaks its API, translates its answers, knows no database."""
