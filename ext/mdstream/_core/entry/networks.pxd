"""Addresses as bytes."""

# What limits are counted by: the IPv4 address, or the IPv6 /64.
cdef bytes c_site_of(bytes address)
