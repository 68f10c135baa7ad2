// nginx's configuration as `nginx -T` prints it, and what of it is Nixery's. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::doctor {

struct Directive {
  unsigned line = 0;
  std::vector<std::string> words;  // unquoted: {"listen", "127.0.0.1:8080"}
  std::vector<Directive> block;    // what stands in its braces
};

struct ConfigurationFile {
  std::string path;
  std::vector<Directive> directives;
};

// An address that a server with Nixery's locations listens on.
struct ListenAddress {
  std::string address;  // as it is written: "127.0.0.1:8080", "[::]:443", "8080", "unix:/…"
  bool tls = false;
  std::string server_name;  // the first one; may be empty
};

class NginxConfiguration {
 public:
  NginxConfiguration() = default;
  // Never fails: what is no configuration gives none.
  static NginxConfiguration parse(std::string_view dump);

  const std::vector<ConfigurationFile>& files() const { return files_; }

  // `user` of the main context: user's name and, if given, the group's.
  std::vector<std::string> user() const;
  // nixery-http.conf, by what it defines: the file that has it.
  std::optional<std::string> http_part() const;
  // nixery-locations.conf, likewise.
  std::optional<std::string> locations_part() const;
  // The default of $nixery_tree.
  std::optional<std::string> tree() const;
  // The servers of the upstream nixery_workers.
  std::vector<std::string> workers() const;
  // Of servers that include the locations; plain ones first.
  std::vector<ListenAddress> addresses() const;

 private:
  std::vector<ConfigurationFile> files_;
};

// "127.0.0.1:8080" -> "http://127.0.0.1:8080"; "*:80", "80" and "[::]:80" -> loopback. Empty for a Unix socket.
std::string url_of(const ListenAddress& address);

// Whether nginx's `server` and NIXERY_LISTEN mean one place: unix:/a//b is unix:/a/b; a worker on 0.0.0.0 is reached at
// any address of that port.
bool same_place(std::string_view upstream_server, std::string_view listen);

}  // namespace nixery::doctor
