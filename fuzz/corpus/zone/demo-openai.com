; An allowed name that leads elsewhere by way of two aliases.
$TTL 300
@         SOA    ns.demo.example. hostmaster.demo.example. 1 3600 600 86400 60
@         NS     ns.demo.example.
@         A      192.0.2.40
api       CNAME  api-edge.openai.com.
api-edge  CNAME  edge-1.openai.com.
edge-1    A      192.0.2.41
edge-1    AAAA   2001:db8::41
