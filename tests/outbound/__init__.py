"""The guard before what tenants name by a URL, with servers on loopback that play the outside."""
