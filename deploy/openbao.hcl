# Storage and listener of OpenBao under Compose; the rest is lake/dev/openbao.hcl.

storage "raft" {
  path    = "/openbao/raft"
  node_id = "one"
}

listener "tcp" {
  address         = "0.0.0.0:8200"
  tls_cert_file   = "secrets/openbao.pem"
  tls_key_file    = "secrets/openbao.key"
  tls_min_version = "tls13"
}

api_addr     = "https://openbao:8200"
cluster_addr = "https://openbao:8201"
