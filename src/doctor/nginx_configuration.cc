#include "doctor/nginx_configuration.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "text/ascii.h"

namespace nixery::doctor {

namespace fs = std::filesystem;

namespace {

// nginx's own grammar (ngx_conf_read_token): words, quoted or not, until ';' or '{'; '#' begins a comment where a word
// may begin; a backslash keeps the next character.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::vector<Directive> block(unsigned depth = 0) {
    std::vector<Directive> directives;
    Directive current;
    while (skip_space(), at_ < text_.size()) {
      const char c = text_[at_];
      if (c == ';' || c == '{' || c == '}') {
        ++at_;
        if (c == '}') {
          if (depth > 0) return directives;
          continue;
        }
        Directive done = std::exchange(current, {});
        if (c == '{' && depth < deepest) done.block = block(depth + 1);
        if (!done.words.empty()) directives.push_back(std::move(done));
      } else {
        if (current.words.empty()) current.line = line_;
        current.words.push_back(word());
      }
    }
    return directives;
  }

 private:
  static constexpr unsigned deepest = 64;

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        if (c == '\n') ++line_;
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string word() {
    const char quote = text_[at_] == '"' || text_[at_] == '\'' ? text_[at_] : '\0';
    if (quote) ++at_;
    std::string word;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '\n') ++line_;
      if (quote ? c == quote : c == ';' || c == '{' || c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        // "${name}" does not begin a block.
        if (!quote && c == '{' && word.ends_with('$')) {
          word += c;
          continue;
        }
        if (quote) ++at_;
        return word;
      }
      if (c == '\\' && at_ + 1 < text_.size()) {
        // It is only a backslash if it is before something else than these.
        const char next = text_[at_ + 1];
        if (next != '"' && next != '\'' && next != '\\') word += c;
        ++at_;
        word += next;
        continue;
      }
      word += c;
    }
    return word;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned line_ = 1;
};

bool is(const Directive& directive, std::string_view name, std::string_view last) {
  return directive.words.size() >= 2 && directive.words.front() == name && directive.words.back() == last;
}

const Directive* find(const std::vector<Directive>& directives, const std::function<bool(const Directive&)>& wanted) {
  for (const Directive& directive : directives) {
    if (wanted(directive)) return &directive;
    if (const Directive* found = find(directive.block, wanted)) return found;
  }
  return nullptr;
}

void for_each(const std::vector<Directive>& directives, const std::function<void(const Directive&)>& visit) {
  for (const Directive& directive : directives) {
    visit(directive);
    for_each(directive.block, visit);
  }
}

bool is_tree(const Directive& directive) {
  return is(directive, "map", "$nixery_tree");
}
bool is_upstream(const Directive& directive) {
  return is(directive, "upstream", "nixery_workers");
}
bool is_location(const Directive& directive) {
  return is(directive, "location", "@nixery_serve");
}

}  // namespace

NginxConfiguration NginxConfiguration::parse(std::string_view dump) {
  constexpr std::string_view mark = "# configuration file ";
  NginxConfiguration configuration;
  const auto next_mark = [&](std::size_t from) {
    for (std::size_t at = from; (at = dump.find(mark, at)) != dump.npos; ++at)
      if (at == 0 || dump[at - 1] == '\n') return at;
    return dump.npos;
  };
  for (std::size_t at = next_mark(0); at != dump.npos;) {
    const std::size_t end_of_line = std::min(dump.find('\n', at), dump.size());
    const std::size_t next = next_mark(end_of_line);
    std::string_view path = dump.substr(at + mark.size(), end_of_line - at - mark.size());
    if (path.ends_with(':')) path.remove_suffix(1);
    const std::string_view text = dump.substr(end_of_line, (next == dump.npos ? dump.size() : next) - end_of_line);
    // The file begins on the line after its mark.
    configuration.files_.push_back(
        {std::string(path), Reader(text.substr(std::min<std::size_t>(1, text.size()))).block()});
    at = next;
  }
  return configuration;
}

std::vector<std::string> NginxConfiguration::user() const {
  for (const ConfigurationFile& file : files_)
    for (const Directive& directive : file.directives)
      if (directive.words.size() >= 2 && directive.words[0] == "user")
        return {directive.words.begin() + 1, directive.words.end()};
  return {};
}

std::optional<std::string> NginxConfiguration::http_part() const {
  for (const ConfigurationFile& file : files_)
    if (find(file.directives, is_tree) && find(file.directives, is_upstream)) return file.path;
  return std::nullopt;
}

std::optional<std::string> NginxConfiguration::locations_part() const {
  for (const ConfigurationFile& file : files_)
    if (find(file.directives, is_location)) return file.path;
  return std::nullopt;
}

std::optional<std::string> NginxConfiguration::tree() const {
  for (const ConfigurationFile& file : files_)
    if (const Directive* map = find(file.directives, is_tree))
      for (const Directive& entry : map->block)
        if (entry.words.size() == 2 && entry.words[0] == "default") return entry.words[1];
  return std::nullopt;
}

std::vector<std::string> NginxConfiguration::workers() const {
  std::vector<std::string> servers;
  for (const ConfigurationFile& file : files_)
    if (const Directive* upstream = find(file.directives, is_upstream))
      for (const Directive& server : upstream->block)
        if (server.words.size() >= 2 && server.words[0] == "server") servers.push_back(server.words[1]);
  return servers;
}

std::vector<ListenAddress> NginxConfiguration::addresses() const {
  const auto locations = locations_part();
  if (!locations) return {};
  const fs::path directory = fs::path(files_.front().path).parent_path();
  const auto includes_them = [&](const Directive& directive) {
    if (directive.words.size() != 2 || directive.words[0] != "include") return false;
    const fs::path pattern = directory / directive.words[1];  // an absolute one stays as it is
    return fnmatch(pattern.c_str(), locations->c_str(), FNM_PATHNAME) == 0;
  };
  std::vector<ListenAddress> addresses;
  for (const ConfigurationFile& file : files_)
    for_each(file.directives, [&](const Directive& server) {
      if (server.words != std::vector<std::string>{"server"} ||
          !(find(server.block, includes_them) || find(server.block, is_location)))
        return;
      std::string name;
      for (const Directive& directive : server.block)
        if (directive.words.size() >= 2 && directive.words[0] == "server_name") name = directive.words[1];
      for (const Directive& directive : server.block)
        if (directive.words.size() >= 2 && directive.words[0] == "listen")
          addresses.push_back(
              {directive.words[1], std::ranges::find(directive.words, "ssl") != directive.words.end(), name});
    });
  std::stable_partition(addresses.begin(), addresses.end(), [](const ListenAddress& address) { return !address.tls; });
  return addresses;
}

std::string url_of(const ListenAddress& listen) {
  std::string_view address = listen.address;
  if (address.starts_with("unix:")) return {};
  const bool only_port = !address.empty() && text::all(address, text::is_digit);
  std::string host, port = listen.tls ? "443" : "80";
  if (only_port) {
    host = "*", port = address;
  } else if (const auto colon = address.rfind(':'); colon != address.npos && !address.ends_with(']')) {
    host = address.substr(0, colon), port = address.substr(colon + 1);
  } else {
    host = address;
  }
  if (host == "*" || host == "0.0.0.0") host = "127.0.0.1";
  if (host == "[::]") host = "[::1]";
  return fmt::format("{}://{}:{}", listen.tls ? "https" : "http", host, port);
}

bool same_place(std::string_view upstream_server, std::string_view listen) {
  constexpr std::string_view unix_prefix = "unix:";
  if (upstream_server.starts_with(unix_prefix) != listen.starts_with(unix_prefix)) return false;
  if (listen.starts_with(unix_prefix)) {
    const auto path = [&](std::string_view text) {
      return fs::path(text.substr(unix_prefix.size())).lexically_normal();
    };
    return path(upstream_server) == path(listen);
  }
  const auto split = [](std::string_view text) {
    const auto colon = text.rfind(':');
    // nginx's default port is 80.
    if (colon == text.npos || text.ends_with(']')) return std::pair<std::string, std::string>(text, "80");
    return std::pair<std::string, std::string>(text.substr(0, colon), text.substr(colon + 1));
  };
  auto [host, port] = split(listen);
  auto [server, server_port] = split(upstream_server);
  for (std::string* name : {&host, &server})
    if (*name == "localhost") *name = "127.0.0.1";
  return port == server_port && (host == server || host.empty() || host == "0.0.0.0" || host == "*" || host == "[::]");
}

}  // namespace nixery::doctor
