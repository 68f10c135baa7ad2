#include "config.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <thread>

#include "error.h"
#include "layer/encoding.h"
#include "os/file.h"
#include "quantity.h"
#include "reference/near_matches.h"
#include "text/number.h"
#include "text/url.h"

namespace nixery {

namespace fs = std::filesystem;

namespace {

using std::chrono::seconds;

constexpr std::size_t largest_token = 32u << 10;  // bytes; git gets it as one environment variable
constexpr std::size_t largest_nixpkgs_config = 1u << 20;

[[noreturn]] void refuse(std::string_view name, std::string_view value, std::string_view wanted) {
  throw Error(Failure::bad_config, fmt::format("{}: '{}' is not valid; {}", name, value, wanted));
}

std::uint64_t number(std::string_view name, std::string_view text, std::uint64_t least, std::uint64_t most) {
  const auto value = text::number<std::uint64_t>(text);
  if (!value || *value < least || *value > most)
    refuse(name, text, fmt::format("give a number from {} to {}", least, most));
  return *value;
}

seconds duration(std::string_view name, std::string_view text) {
  if (const auto value = parse_duration(text)) return *value;
  refuse(name, text, "give a duration such as 90s, 15m, 12h or 30d");
}

bool yes_or_no(std::string_view name, std::string_view text) {
  if (text == "1" || text == "true" || text == "yes") return true;
  if (text == "0" || text == "false" || text == "no") return false;
  refuse(name, text, "give 1 or 0");
}

fs::path absolute(std::string_view name, std::string_view text) {
  if (!text.starts_with('/')) refuse(name, text, "give an absolute path");
  return fs::path(text).lexically_normal();
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> list;
  std::string word;
  for (const char c : fmt::format("{},", text)) {
    if (c != ',' && c != ' ') {
      word += c;
    } else if (!word.empty()) {
      list.push_back(std::exchange(word, {}));
    }
  }
  return list;
}

// Names and globs of packages for nixpkgs' lists of allowed packages.
nix::NameList package_names(std::string_view name, std::string_view text) {
  nix::NameList list(words(text));
  for (const std::string& glob : list.globs())
    if (!nix::is_simple_glob(glob)) refuse(name, glob, "give names of packages, and globs of '*' and '?' alone");
  return list;
}

std::string whole_file(std::string_view name, std::string_view path, std::size_t most) {
  const auto text = os::read_if_exists(absolute(name, path));
  if (!text) refuse(name, path, "that file cannot be read");
  if (text->find_first_not_of(" \t\r\n") == text->npos) refuse(name, path, "that file is empty");
  if (text->size() > most) refuse(name, path, fmt::format("that file is larger than {} KiB", most >> 10));
  return *text;
}

struct Rule {
  const char* name;
  std::string fallback;
  const char* description;
  std::function<void(Config&, std::string_view)> apply;
  const char* documented_default = nullptr;  // instead of `fallback` where that depends on the machine
};

// In order of importance.
std::vector<Rule> rules() {
  const auto cores = std::max(1U, std::thread::hardware_concurrency());
  return {
      {"NIXERY_CHANNEL", "", "package source: a nixpkgs channel, such as nixos-unstable; tags are channels or commits",
       [](Config& c, std::string_view v) {
         if (!v.empty()) c.source.kind = nix::SourceSettings::Kind::channel, c.source.location = v;
       }},
      {"NIXERY_PKGS_REPO", "",
       "package source: a git repository (https, ssh or file URL); tags are branches, tags or commits",
       [](Config& c, std::string_view v) {
         if (!v.empty()) c.source.kind = nix::SourceSettings::Kind::git, c.source.location = v;
       }},
      {"NIXERY_PKGS_TOKEN_FILE", "",
       "file with a token, or user:password, for a NIXERY_PKGS_REPO by http(s): read at start, shown nowhere",
       [](Config& c, std::string_view v) {
         if (v.empty()) return;
         std::string text = whole_file("NIXERY_PKGS_TOKEN_FILE", v, largest_token);
         while (std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
         if (text.find('\n') != text.npos)
           refuse("NIXERY_PKGS_TOKEN_FILE", v, "it must hold one line: a token, or user:password");
         // GitHub, GitLab and others accept this user name with a token.
         c.source.credentials = text.find(':') == text.npos ? "x-access-token:" + text : text;
       }},
      {"NIXERY_PKGS_PATH", "", "package source: a directory with nixpkgs or a set of its shape; the only tag is latest",
       [](Config& c, std::string_view v) {
         if (!v.empty())
           c.source.kind = nix::SourceSettings::Kind::path, c.source.location = absolute("NIXERY_PKGS_PATH", v);
       }},
      {"NIXERY_ALLOWED_BRANCHES", "",
       "branches that are served, with their commits; for git, globs of branches and tags (default: *); for a channel, "
       "names of further channels and branches (default: any channel, and commits of the channel and master)",
       [](Config& c, std::string_view v) { c.source.allowed_branches = words(v); }},
      {"NIXERY_TREE", "/var/lib/nixery/tree", "the directory that nginx serves",
       [](Config& c, std::string_view v) { c.tree = absolute("NIXERY_TREE", v); }},
      {"NIXERY_STATE", default_state, "locks, logs, recipes, sources, nix's roots; never served",
       [](Config& c, std::string_view v) { c.state = absolute("NIXERY_STATE", v); }},
      {"NIXERY_IMAGES", "", "directory of declared images, one JSON file each; reloaded when it changes",
       [](Config& c, std::string_view v) {
         if (!v.empty()) c.images = absolute("NIXERY_IMAGES", v);
       }},
      {"NIXERY_LISTEN", "unix:/run/nixery/nixery.sock", "where the worker accepts FastCGI: unix:/path or host:port",
       [](Config& c, std::string_view v) {
         const bool unix_socket = v.starts_with("unix:/");
         const auto colon = v.rfind(':');
         if (!unix_socket && (colon == v.npos || colon + 1 == v.size()))
           refuse("NIXERY_LISTEN", v, "give unix:/path or host:port");
         if (!unix_socket) number("NIXERY_LISTEN", v.substr(colon + 1), 1, 65535);
         c.listen = v;
       }},
      {"NIXERY_PLATFORMS", std::string(reference::host_platform().meta_package),
       "platforms of names without one: amd64, arm64, or both, which makes every image an index of the two",
       [](Config& c, std::string_view v) {
         for (const std::string& word : words(v)) {
           const auto platform = reference::platform_of_meta_package(word);
           if (!platform) refuse("NIXERY_PLATFORMS", v, "give amd64, arm64 or 'amd64 arm64'");
           if (std::find(c.platforms.begin(), c.platforms.end(), *platform) == c.platforms.end())
             c.platforms.push_back(*platform);
         }
         if (c.platforms.empty()) refuse("NIXERY_PLATFORMS", v, "give amd64, arm64 or 'amd64 arm64'");
       },
       "the host's"},
      {"NIXERY_FORMAT", "oci", "format of manifests: oci or docker (v2 schema 2)",
       [](Config& c, std::string_view v) {
         if (v != "oci" && v != "docker") refuse("NIXERY_FORMAT", v, "give oci or docker");
         c.format = v == "oci" ? image::Format::oci : image::Format::docker;
       }},
      {"NIXERY_ENCODING", "gzip-fast", "compression of layers: gzip-fast, gzip-balanced, gzip-small, zstd-fast, …",
       [](Config& c, std::string_view v) {
         if (!layer::Encoding::parse(v))
           refuse("NIXERY_ENCODING", v, "give gzip or zstd, with -fast, -balanced or -small");
         c.encoding = v;
       }},
      {"NIXERY_MAX_LAYERS", "100", "most layers of an image (1 to 125)",
       [](Config& c, std::string_view v) {
         c.max_layers = static_cast<unsigned>(number("NIXERY_MAX_LAYERS", v, 1, 125));
       }},
      {"NIX_POPULARITY_URL", "",
       "file or URL of a JSON object, package -> how many images hold it (nixery popularity makes one): "
       "decides which paths share a layer if NIXERY_MAX_LAYERS is below 30, and which keep their own if there are too "
       "many",
       [](Config& c, std::string_view v) { c.popularity = v; }},
      {"NIX_TIMEOUT", "3600", "time limit of the build of one derivation, in seconds",
       [](Config& c, std::string_view v) { c.nix.build_limit = seconds(number("NIX_TIMEOUT", v, 1, 1'000'000)); }},
      {"NIXERY_EVAL_TIMEOUT", "60", "time limit of an evaluation, in seconds",
       [](Config& c, std::string_view v) {
         c.nix.evaluation_limit = seconds(number("NIXERY_EVAL_TIMEOUT", v, 1, 86'400));
       }},
      {"NIXERY_EVAL_MEMORY", "4096", "memory limit of an evaluation: MiB of address space",
       [](Config& c, std::string_view v) {
         c.nix.evaluation_memory = number("NIXERY_EVAL_MEMORY", v, 128, 1 << 20) << 20;
       }},
      {"NIXPKGS_ALLOW_UNFREE", "0", "1 to serve all packages with unfree licences, as NIXERY_ALLOW_UNFREE='*' does",
       [](Config& c, std::string_view v) {
         if (yes_or_no("NIXPKGS_ALLOW_UNFREE", v)) c.nix.nixpkgs.unfree = nix::NameList({"*"});
       }},
      {"NIXERY_ALLOW_UNFREE", "",
       "packages that are served although their licence is unfree: names such as steam, or globs",
       [](Config& c, std::string_view v) {
         if (!v.empty() && c.nix.nixpkgs.unfree.empty()) c.nix.nixpkgs.unfree = package_names("NIXERY_ALLOW_UNFREE", v);
       }},
      {"NIXERY_ALLOW_INSECURE", "",
       "packages that are served although nixpkgs knows of vulnerabilities: names, better with the version, such as "
       "openssl-1.1.1w, or globs",
       [](Config& c, std::string_view v) { c.nix.nixpkgs.insecure = package_names("NIXERY_ALLOW_INSECURE", v); }},
      {"NIXERY_ALLOW_BROKEN", "", "packages that are served although nixpkgs marks them as broken: names or globs",
       [](Config& c, std::string_view v) { c.nix.nixpkgs.broken = package_names("NIXERY_ALLOW_BROKEN", v); }},
      {"NIXERY_NIXPKGS_CONFIG", "",
       "Nix file with { config, overlays } for nixpkgs, or a function of { system, ... } to that; read at start, and "
       "it may refer to no file beside it",
       [](Config& c, std::string_view v) {
         if (!v.empty()) c.nix.nixpkgs.config = whole_file("NIXERY_NIXPKGS_CONFIG", v, largest_nixpkgs_config);
       }},
      {"NIXERY_SUBSTITUTE_ONLY", "0", "1 to serve only packages from binary caches and never compile",
       [](Config& c, std::string_view v) { c.nix.substitute_only = yes_or_no("NIXERY_SUBSTITUTE_ONLY", v); }},
      {"NIXERY_BLOCKED", "",
       "attributes that are never served, not even by another path: globs of attribute paths or package names, such as "
       "'steam* python2packages.*'",
       [](Config& c, std::string_view v) { c.nix.blocked = nix::NameList(words(v)); }},
      {"NIXERY_THREADS", "4", "threads that accept requests",
       [](Config& c, std::string_view v) { c.threads = static_cast<unsigned>(number("NIXERY_THREADS", v, 1, 256)); }},
      {"NIXERY_BUILDS", fmt::format("{}", 2 * cores),
       "images built at the same time; most of that time is spent waiting for nix, which has its own limits. The last "
       "free "
       "slot "
       "is reserved for a client with no running build",
       [](Config& c, std::string_view v) {
         c.build_threads = static_cast<unsigned>(number("NIXERY_BUILDS", v, 1, 256));
       },
       "twice the number of cores"},
      {"NIXERY_EVALUATIONS", fmt::format("{}", cores), "evaluations at the same time",
       [](Config& c, std::string_view v) {
         c.evaluations = static_cast<unsigned>(number("NIXERY_EVALUATIONS", v, 1, 256));
       },
       "the number of cores"},
      {"NIXERY_COMPRESSORS", "0",
       "threads that compress layers, shared by all builds; 0: one for each core, as many as fit in 96 MiB",
       [](Config& c, std::string_view v) {
         c.compressors = static_cast<unsigned>(number("NIXERY_COMPRESSORS", v, 0, 256));
       }},
      {"NIXERY_QUEUE", "100", "images that can wait to be built; further requests get 429 and Retry-After",
       [](Config& c, std::string_view v) {
         c.queue_length = static_cast<unsigned>(number("NIXERY_QUEUE", v, 0, 100'000));
       }},
      {"NIXERY_MAX_WAITING", "600", "requests that can wait for builds",
       [](Config& c, std::string_view v) {
         c.max_waiting = static_cast<unsigned>(number("NIXERY_MAX_WAITING", v, 1, 900));
       }},
      {"NIXERY_HOP_SECONDS", "20", "seconds that a request waits for a build before it is redirected to the same URL",
       [](Config& c, std::string_view v) { c.hop = seconds(number("NIXERY_HOP_SECONDS", v, 1, 3600)); }},
      {"NIXERY_HOPS", "9", "such redirects of one request; clients follow at most ten",
       [](Config& c, std::string_view v) { c.hops = static_cast<unsigned>(number("NIXERY_HOPS", v, 0, 9)); }},
      {"NIXERY_CATALOG", "1", "0 to hide the lists of built images and of failures (/v2/_catalog, the web page)",
       [](Config& c, std::string_view v) { c.catalog = yes_or_no("NIXERY_CATALOG", v); }},
      {"NIXERY_SBOM", "1", "0 to attach no SPDX, CycloneDX and provenance documents to images",
       [](Config& c, std::string_view v) { c.sbom = yes_or_no("NIXERY_SBOM", v); }},
      {"NIXERY_BUILDER_ID", "", "URI of this registry as the builder in provenance",
       [](Config& c, std::string_view v) {
         if (!v.empty() && (v.find(':') == v.npos || v.find_first_of(" \t\"<>") != v.npos))
           refuse("NIXERY_BUILDER_ID", v, "give a URI, such as https://registry.example.org/builder");
         c.builder_id = v;
       }},
      {"NIXERY_SIGNING_KEY", "", "PEM file of an unencrypted ECDSA P-256 key: images are signed in cosign's format",
       [](Config& c, std::string_view v) {
         if (!v.empty()) c.signing_key = absolute("NIXERY_SIGNING_KEY", v);
       }},
      {"NIXERY_SIGNING_IDENTITY", "",
       "host name in signatures, as clients write it before an image's name, such as registry.example.org; some "
       "policies compare it",
       [](Config& c, std::string_view v) { c.signing_identity = v; }},
      {"NIXERY_FAILURE_SECONDS", "30", "seconds for which a failure is cached before the next attempt",
       [](Config& c, std::string_view v) {
         c.failure_memory = seconds(number("NIXERY_FAILURE_SECONDS", v, 0, 86'400));
       }},
      {"NIXERY_REFRESH_SECONDS", "300", "seconds between checks whether the source of a moving tag has moved; 0: never",
       [](Config& c, std::string_view v) { c.refresh = seconds(number("NIXERY_REFRESH_SECONDS", v, 0, 31'536'000)); }},
      {"NIXERY_GC_SECONDS", "0", "seconds between garbage collections; 0: only by hand (nixery gc)",
       [](Config& c, std::string_view v) { c.gc_interval = seconds(number("NIXERY_GC_SECONDS", v, 0, 31'536'000)); }},
      {"NIXERY_GC_MAX_AGE", "", "a collection removes images whose last pull is longer ago, such as 30d; empty: none",
       [](Config& c, std::string_view v) {
         if (!v.empty()) c.gc.max_age = duration("NIXERY_GC_MAX_AGE", v);
       }},
      {"NIXERY_GC_MAX_SIZE", "",
       "while the tree is larger, such as 50G, a collection removes the least recently pulled images; "
       "empty: no limit",
       [](Config& c, std::string_view v) {
         if (v.empty()) return;
         c.gc.max_size = parse_size(v);
         if (!c.gc.max_size) refuse("NIXERY_GC_MAX_SIZE", v, "give a size such as 500M, 50G or 2T");
       }},
      {"NIXERY_GC_GRACE", "1h", "collections keep images that were pulled or built within this time",
       [](Config& c, std::string_view v) { c.gc.grace = duration("NIXERY_GC_GRACE", v); }},
      {"NIXERY_GC_KEEP", "", "images that collections keep: globs of repository or repository:tag, or digests",
       [](Config& c, std::string_view v) { c.gc.keep = words(v); }},
      {"NIXERY_USE_LOG", "", "nginx's log of pulls (nixery-use.conf), from which collections take an image's last use",
       [](Config& c, std::string_view v) {
         if (!v.empty()) c.use_log = absolute("NIXERY_USE_LOG", v);
       }},
      {"NIXERY_MIN_FREE", "1G",
       "free disk space of the tree and the state below which /readyz reports the worker as not ready",
       [](Config& c, std::string_view v) {
         const auto size = parse_size(v);
         if (!size) refuse("NIXERY_MIN_FREE", v, "give a size such as 500M or 5G, or 0");
         c.min_free = *size;
       }},
      {"NIXERY_LOG_LEVEL", "info",
       "log level: error, warning, info (with each build), or debug (with each request of a worker)",
       [](Config& c, std::string_view v) {
         const auto level = log::level_of(v);
         if (!level) refuse("NIXERY_LOG_LEVEL", v, "give error, warning, info or debug");
         c.log_level = *level;
       }},
      {"NIXERY_CHANNEL_URL", "https://channels.nixos.org/{channel}/git-revision", "URL of a channel's commit",
       [](Config& c, std::string_view v) { c.source.channel_url = v; }},
      {"NIXERY_ARCHIVE_URL", "https://github.com/NixOS/nixpkgs/archive/{revision}.tar.gz", "URL of a commit's archive",
       [](Config& c, std::string_view v) { c.source.archive_url = v; }},
      {"NIXERY_COMPARE_URL", "https://api.github.com/repos/NixOS/nixpkgs/compare/{revision}...{branch}",
       "URL that compares a commit with a branch", [](Config& c, std::string_view v) { c.source.compare_url = v; }},
      {"NIXERY_KEPT_REVISIONS", "20",
       "package sets of a channel or git repository that are kept on disk; one nixpkgs takes about 300 MB",
       [](Config& c, std::string_view v) {
         c.source.kept_revisions = number("NIXERY_KEPT_REVISIONS", v, 1, 1'000'000);
       }},
      {"NIXERY_RESOLVE_NIX", NIXERY_DATADIR "/resolve.nix", "Nix expression that looks up packages",
       [](Config& c, std::string_view v) {
         c.nix.resolve_nix = absolute("NIXERY_RESOLVE_NIX", v);
         if (access(c.nix.resolve_nix.c_str(), R_OK) != 0) refuse("NIXERY_RESOLVE_NIX", v, "that file cannot be read");
       },
       "resolve.nix in the installation's share/nixery"},
  };
}

void settle_source(Config& config, const std::vector<Setting>& settings) {
  std::vector<std::string> given;
  for (const Setting& setting : settings)
    if (setting.from_environment &&
        (setting.name == "NIXERY_CHANNEL" || setting.name == "NIXERY_PKGS_REPO" || setting.name == "NIXERY_PKGS_PATH"))
      given.push_back(setting.name);
  if (given.size() > 1)
    throw Error(Failure::bad_config,
                fmt::format("{} and {} are both set; a registry has one package source", given[0], given[1]));
  if (given.empty()) config.source.location = "nixos-unstable";
  config.source.any_channel = config.source.allowed_branches.empty();
  if (!config.source.any_channel) return;
  if (config.source.kind == nix::SourceSettings::Kind::git) config.source.allowed_branches = {"*"};
  if (config.source.kind == nix::SourceSettings::Kind::channel)
    config.source.allowed_branches = {config.source.location, "master"};
}

}  // namespace

LoadedConfig load_config(const Environment& environment) {
  LoadedConfig loaded;
  for (const Rule& rule : rules()) {
    const char* given = environment(rule.name);
    const bool from_environment = given && *given;
    const std::string value = from_environment ? given : rule.fallback;
    rule.apply(loaded.config, value);
    loaded.settings.push_back({rule.name, text::without_credentials(value), from_environment, rule.description});
  }
  settle_source(loaded.config, loaded.settings);
  if (loaded.config.format == image::Format::docker && loaded.config.encoding.starts_with("zstd"))
    throw Error(Failure::bad_config, "NIXERY_ENCODING: zstd layers exist in OCI manifests only; set NIXERY_FORMAT=oci");
  return loaded;
}

std::vector<SettingDescription> described_settings() {
  std::vector<SettingDescription> described;
  for (const Rule& rule : rules())
    described.push_back({rule.name, rule.documented_default ? rule.documented_default : rule.fallback,
                         !rule.documented_default, rule.description});
  return described;
}

std::vector<std::string> strange_settings(const std::vector<Setting>& known, const std::vector<std::string>& names) {
  static const std::map<std::string, std::string> elsewhere = {
      {"NIXERY_STORAGE_BACKEND", "images are kept in the directory NIXERY_TREE, which nginx serves"},
      {"STORAGE_PATH", "images are kept in the directory NIXERY_TREE, which nginx serves"},
      {"GCS_BUCKET", "images are kept in the directory NIXERY_TREE; put a CDN before nginx"},
      {"WEB_DIR", "nginx serves the web page (nixery-web.conf)"},
  };
  std::vector<std::string> settings;
  for (const Setting& setting : known) settings.push_back(setting.name);

  std::vector<std::string> sentences;
  for (const std::string& name : names) {
    if (const auto there = elsewhere.find(name); there != elsewhere.end()) {
      sentences.push_back(fmt::format("{} is a setting of the Go Nixery; here, {}", name, there->second));
      continue;
    }
    // Settings of the controller, variables that web servers pass, and settings of the tests.
    if (!name.starts_with("NIXERY_") || name.starts_with("NIXERY_CONTROLLER_") || name.starts_with("NIXERY_TEST_") ||
        name == "NIXERY_REQUEST_ID" || name == "NIXERY_BIN" || std::ranges::find(settings, name) != settings.end())
      continue;
    const auto near = reference::near_matches(name, settings, 1);
    sentences.push_back(fmt::format("{} is not a setting of nixery{}", name,
                                    near.empty() ? "; `nixery config` lists them" : ": did you mean " + near[0] + "?"));
  }
  return sentences;
}

}  // namespace nixery
