// Address and credentials of the API server, from the pod's service account or a kubeconfig.
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
  std::string token;                 // if there is no token_file, or it has no token
};

using Environment = std::function<const char*(const char* name)>;

// The file KUBECONFIG if it is set (one file, not a list), otherwise the pod's service account:
// KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and /var/run/secrets/kubernetes.io/serviceaccount. Throws
// Error{bad_config}.
ClusterAccess find_cluster(const Environment& environment);

// The current context's cluster and user. Relative paths are relative to `directory`. Supported are, of a cluster:
// server, certificate-authority(-data), insecure-skip-tls-verify; of a user: token, tokenFile,
// client-certificate(-data), client-key(-data). Plugins (exec, auth-provider), basic authentication, impersonation,
// proxies and tls-server-name are errors. Throws Error{bad_config} that begins with `file`.
ClusterAccess parse_kubeconfig(std::string_view yaml, std::string_view file, const std::filesystem::path& directory);

}  // namespace nixery::kubernetes
