# What OpenBao does for a lake, wherever it runs. Paths are relative to its working directory. Storage and listener are
# in a second file: deploy/openbao.hcl for Compose; 'lake dev up' writes its own.

# Whoever has this file and the storage can open everything: keep the two apart in backups.
seal "static" {
  current_key_id = "k1"
  current_key    = "file://secrets/openbao.unseal"
}

audit "file" "stdout" {
  description = "every request, with values as HMACs"
  options {
    file_path = "stdout"
  }
}

# Done once, at the first start. There is no root token afterwards, and none of it can be repeated on this storage.
initialize "lake" {
  request "engine" {
    operation = "update"
    path      = "sys/mounts/transit"
    data = {
      type = "transit"
    }
  }

  request "broker-policy" {
    operation = "update"
    path      = "sys/policies/acl/lake-broker"
    data = {
      policy = <<-EOT
        path "transit/keys/lake-root-*"    { capabilities = ["read"] }
        path "transit/encrypt/lake-root-*" { capabilities = ["update"] }
        path "transit/decrypt/lake-root-*" { capabilities = ["update"] }
      EOT
    }
  }

  request "operator-policy" {
    operation = "update"
    path      = "sys/policies/acl/lake-operator"
    data = {
      policy = <<-EOT
        path "transit/keys/lake-root-*"        { capabilities = ["read", "create", "update"] }
        path "transit/keys/lake-root-*/rotate" { capabilities = ["update"] }
        path "transit/keys/lake-root-*/config" { capabilities = ["update"] }
        path "transit/keys/lake-root-*/trim"   { capabilities = ["update"] }
        path "transit/encrypt/lake-root-*"     { capabilities = ["update"] }
        path "transit/decrypt/lake-root-*"     { capabilities = ["update"] }
        path "transit/rewrap/lake-root-*"      { capabilities = ["update"] }
        path "transit/config/keys"             { capabilities = ["create", "update"] }
      EOT
    }
  }

  # Looks after the service: policies, tokens, snapshots. It can give itself any right, so it is used by people only.
  request "administrator-policy" {
    operation = "update"
    path      = "sys/policies/acl/lake-administrator"
    data = {
      policy = <<-EOT
        path "sys/*"  { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
        path "auth/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
      EOT
    }
  }

  request "operator-token" {
    operation = "update"
    path      = "auth/token/create-orphan"
    data = {
      id = {
        eval_source = "file"
        eval_type   = "string"
        path        = "secrets/openbao.operator.token"
      }
      policies     = ["lake-operator"]
      period       = "768h"
      display_name = "lake-operator"
    }
  }

  request "administrator-token" {
    operation = "update"
    path      = "auth/token/create-orphan"
    data = {
      id = {
        eval_source = "file"
        eval_type   = "string"
        path        = "secrets/openbao.administrator.token"
      }
      policies     = ["lake-administrator"]
      period       = "768h"
      display_name = "lake-administrator"
    }
  }

  # The last one: who can use this token finds everything else done.
  request "broker-token" {
    operation = "update"
    path      = "auth/token/create-orphan"
    data = {
      id = {
        eval_source = "file"
        eval_type   = "string"
        path        = "secrets/openbao.broker.token"
      }
      policies     = ["lake-broker"]
      period       = "768h"
      display_name = "lake-broker"
    }
  }
}
