#include "kubernetes/cluster_access.h"

#include <fmt/format.h>
#include <yaml.h>

#include <memory>

#include "error.h"
#include "os/file.h"
#include "text/encoding.h"

namespace nixery::kubernetes {

namespace {

namespace fs = std::filesystem;

constexpr const char* service_account = "/var/run/secrets/kubernetes.io/serviceaccount";

// A libyaml document, read only. libyaml resolves aliases, so nodes may be shared.
class Yaml {
 public:
  Yaml(std::string_view text, std::string_view file) : file_(file) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) throw std::bad_alloc();
    yaml_parser_set_input_string(&parser, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    const bool good = yaml_parser_load(&parser, &document_);
    const std::string problem = good || !parser.problem ? "" : parser.problem;
    const auto line = parser.problem_mark.line + 1;
    yaml_parser_delete(&parser);
    if (!good) refuse(fmt::format("line {}: {}", line, problem));
  }
  ~Yaml() { yaml_document_delete(&document_); }
  Yaml(const Yaml&) = delete;
  Yaml& operator=(const Yaml&) = delete;

  [[noreturn]] void refuse(const std::string& reason) const {
    throw Error(Failure::bad_config, fmt::format("{}: {}", file_, reason));
  }

  yaml_node_t* root() {
    yaml_node_t* node = yaml_document_get_root_node(&document_);
    if (!node) refuse("it is empty");
    return node;
  }

  yaml_node_t* find(const yaml_node_t* map, std::string_view key) {
    if (!map || map->type != YAML_MAPPING_NODE) return nullptr;
    for (auto* pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top; ++pair)
      if (scalar(yaml_document_get_node(&document_, pair->key)) == key)
        return yaml_document_get_node(&document_, pair->value);
    return nullptr;
  }

  std::string text(const yaml_node_t* map, std::string_view key) { return std::string(scalar(find(map, key))); }

  // The member `kind` ("cluster") of the entry of `list` ("clusters") that has this name.
  yaml_node_t* named(std::string_view list, std::string_view kind, std::string_view name) {
    const yaml_node_t* entries = find(root(), list);
    if (entries && entries->type == YAML_SEQUENCE_NODE)
      for (auto* item = entries->data.sequence.items.start; item < entries->data.sequence.items.top; ++item) {
        const yaml_node_t* entry = yaml_document_get_node(&document_, *item);
        if (text(entry, "name") == name)
          if (yaml_node_t* found = find(entry, kind)) return found;
      }
    refuse(fmt::format("{} has no '{}' with a {}", list, name, kind));
  }

 private:
  static std::string_view scalar(const yaml_node_t* node) {
    if (!node || node->type != YAML_SCALAR_NODE) return {};
    return {reinterpret_cast<const char*>(node->data.scalar.value), node->data.scalar.length};
  }

  std::string file_;
  yaml_document_t document_;
};

std::string from_base64(const Yaml& yaml, std::string_view key, std::string text) {
  std::erase_if(text, [](char c) { return c == '\n' || c == ' ' || c == '\r'; });
  auto bytes = text::base64_decode(text);
  if (!bytes) yaml.refuse(fmt::format("{} is not base64", key));
  return *std::move(bytes);
}

std::string without_slash(std::string server) {
  while (server.ends_with('/')) server.pop_back();
  return server;
}

void check(const ClusterAccess& access, std::string_view what) {
  if (!access.server.starts_with("https://") && !access.server.starts_with("http://"))
    throw Error(Failure::bad_config, fmt::format("{}: the server's address must begin with https:// or http://", what));
}

ClusterAccess of_service_account(const Environment& environment) {
  const char* host = environment("KUBERNETES_SERVICE_HOST");
  const char* port = environment("KUBERNETES_SERVICE_PORT");
  if (!host || !*host || !port || !*port)
    throw Error(Failure::bad_config,
                "no cluster: KUBECONFIG is not set, nor KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which "
                "pods have");
  ClusterAccess access;
  const bool v6 = std::string_view(host).find(':') != std::string_view::npos;
  access.server = v6 ? fmt::format("https://[{}]:{}", host, port) : fmt::format("https://{}:{}", host, port);
  access.tls.ca_file = fs::path(service_account) / "ca.crt";
  access.token_file = fs::path(service_account) / "token";
  return access;
}

}  // namespace

ClusterAccess parse_kubeconfig(std::string_view text, std::string_view file, const fs::path& directory) {
  Yaml yaml(text, file);
  const std::string context_name = yaml.text(yaml.root(), "current-context");
  if (context_name.empty()) yaml.refuse("it has no current-context");
  const yaml_node_t* context = yaml.named("contexts", "context", context_name);
  const yaml_node_t* cluster = yaml.named("clusters", "cluster", yaml.text(context, "cluster"));
  for (const char* key : {"proxy-url", "tls-server-name"})
    if (yaml.find(cluster, key)) yaml.refuse(fmt::format("{} is not supported", key));

  const auto path = [&](const yaml_node_t* map, std::string_view key) {
    const std::string given = yaml.text(map, key);
    return given.empty() ? fs::path() : directory / given;
  };
  const auto pem = [&](const yaml_node_t* map, std::string_view key) {
    return from_base64(yaml, key, yaml.text(map, key));
  };

  ClusterAccess access;
  access.server = without_slash(yaml.text(cluster, "server"));
  access.tls.ca_pem = pem(cluster, "certificate-authority-data");
  if (access.tls.ca_pem.empty()) access.tls.ca_file = path(cluster, "certificate-authority");
  access.tls.is_verified = yaml.text(cluster, "insecure-skip-tls-verify") != "true";

  if (const std::string user_name = yaml.text(context, "user"); !user_name.empty()) {
    const yaml_node_t* user = yaml.named("users", "user", user_name);
    for (const char* key : {"exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups"})
      if (yaml.find(user, key))
        yaml.refuse(
            fmt::format("user '{}': {} is not supported: give a token or a client certificate", user_name, key));
    access.token_file = path(user, "tokenFile");
    access.token = yaml.text(user, "token");
    access.tls.client_cert_pem = pem(user, "client-certificate-data");
    if (access.tls.client_cert_pem.empty()) access.tls.client_cert_file = path(user, "client-certificate");
    access.tls.client_key_pem = pem(user, "client-key-data");
    if (access.tls.client_key_pem.empty()) access.tls.client_key_file = path(user, "client-key");
  }
  check(access, file);
  return access;
}

ClusterAccess find_cluster(const Environment& environment) {
  const char* kubeconfig = environment("KUBECONFIG");
  if (!kubeconfig || !*kubeconfig) return of_service_account(environment);
  const fs::path file = kubeconfig;
  const auto text = os::read_if_exists(file);
  if (!text) throw Error(Failure::bad_config, fmt::format("KUBECONFIG: the file {} does not exist", file.string()));
  return parse_kubeconfig(*text, file.string(), fs::absolute(file).parent_path());
}

}  // namespace nixery::kubernetes
