// Where the API server is and how to log in there: from the pod's service account, or from a kubeconfig.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "http_client/http_client.h"

namespace nixery::kubernetes {

struct ClusterAccess {
  std::string server;  // "https://10.0.0.1:443", perhaps with a path; no slash at the end
  http_client::Tls tls;
  std::filesystem::path token_file;  // read again for each request, as kubelet replaces it
  std::string token;                 // where there is no token_file, or nothing to be read in it
};

using Environment = std::function<const char*(const char* name)>;

// KUBECONFIG's file where it is set (one file, not a list), else the pod's service account:
// KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and /var/run/secrets/kubernetes.io/serviceaccount.
// Throws Error{bad_config}.
ClusterAccess find_cluster(const Environment& environment);

// The current context's cluster and user. Relative paths are relative to `directory`. Understood are, of a cluster:
// server, certificate-authority(-data), insecure-skip-tls-verify; of a user: token, tokenFile,
// client-certificate(-data), client-key(-data). Plugins (exec, auth-provider), names with passwords, impersonation,
// proxies and tls-server-name are refused rather than left out. Throws Error{bad_config} that begins with `file`.
ClusterAccess parse_kubeconfig(std::string_view yaml, std::string_view file, const std::filesystem::path& directory);

}  // namespace nixery::kubernetes
