# Cuts the internet of the chains into its zones: the root, and one for every top-level domain, which the root delegates.
#
#   awk -v into=DIRECTORY -f zones.awk internet.zone
#
# Writes DIRECTORY/root.zone, com.zone and so on; prints the names of the zones. One server has them all, 127.0.0.2.
BEGIN {
    print "."
    root = into "/root.zone"
    print "$TTL 3\n. IN SOA root.example. hostmaster.example. 1 3600 600 86400 3\n. IN NS root.example." >root
    print "root.example. IN A 127.0.0.2" >root
}
/^(;|$)/ { next }
{
    labels = split($1, label, ".")
    zone = label[labels - 1]
    file = into "/" zone ".zone"
    if (!(zone in seen)) {
        seen[zone] = 1
        print zone
        print zone ". IN NS ns." zone ".\nns." zone ". IN A 127.0.0.2" >root
        print "$TTL 3\n" zone ". IN SOA ns." zone ". hostmaster." zone ". 1 3600 600 86400 3" >file
        print zone ". IN NS ns." zone ".\nns." zone ". IN A 127.0.0.2" >file
    }
    print >file
}
