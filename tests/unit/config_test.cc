#include "config.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "error.h"
#include "os/file.h"
#include "settings_file.h"
#include "temporary_directory.h"

using namespace nixery;

namespace {

const test::TemporaryDirectory& directory() {
  static const test::TemporaryDirectory dir;
  return dir;
}

LoadedConfig load(std::map<std::string, std::string> variables) {
  const auto resolve = directory().path() / "resolve.nix";
  os::write_file(resolve, "{ }");
  variables.emplace("NIXERY_RESOLVE_NIX", resolve.string());
  return load_config([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

void refuses(const std::string& name, const std::string& value) {
  CHECK_THROWS_WITH_AS(load({{name, value}}), doctest::Contains(name.c_str()), Error);
}

}  // namespace

TEST_CASE("without settings: nixos-unstable, OCI, a hundred layers") {
  const auto loaded = load({});
  CHECK(loaded.config.source.kind == nix::SourceSettings::Kind::channel);
  CHECK(loaded.config.source.location == "nixos-unstable");
  CHECK(loaded.config.source.allowed_branches == std::vector<std::string>{"nixos-unstable", "master"});
  CHECK(loaded.config.max_layers == 100);
  CHECK(loaded.config.format == image::Format::oci);
}

TEST_CASE("packages are allowed by name, and a configuration file for nixpkgs is read") {
  CHECK(load({}).config.nix.nixpkgs.is_default());
  const auto file = directory().path() / "nixpkgs.nix";
  os::write_file(file, "{ config.allowAliases = false; }\n");
  const auto nixpkgs = load({{"NIXERY_ALLOW_UNFREE", "steam, Nvidia-*"},
                             {"NIXERY_ALLOW_INSECURE", "openssl-1.1.1w"},
                             {"NIXERY_ALLOW_BROKEN", "*"},
                             {"NIXERY_NIXPKGS_CONFIG", file.string()}})
                           .config.nix.nixpkgs;
  CHECK(nixpkgs.unfree.str() == "steam nvidia-*");
  CHECK(nixpkgs.insecure.str() == "openssl-1.1.1w");
  CHECK(nixpkgs.broken.str() == "*");
  CHECK(nixpkgs.config == "{ config.allowAliases = false; }\n");
  CHECK(load({{"NIXPKGS_ALLOW_UNFREE", "1"}, {"NIXERY_ALLOW_UNFREE", "steam"}}).config.nix.nixpkgs.unfree.str() == "*");

  std::set<std::string> fingerprints;
  for (const char* name : {"NIXERY_ALLOW_UNFREE", "NIXERY_ALLOW_INSECURE", "NIXERY_ALLOW_BROKEN"})
    fingerprints.insert(load({{name, "x"}}).config.nix.nixpkgs.fingerprint());
  fingerprints.insert(load({{"NIXERY_NIXPKGS_CONFIG", file.string()}}).config.nix.nixpkgs.fingerprint());
  fingerprints.insert(load({}).config.nix.nixpkgs.fingerprint());
  CHECK(fingerprints.size() == 5);

  os::write_file(file, " \n");
  refuses("NIXERY_NIXPKGS_CONFIG", file.string());
  os::write_file(file, std::string((1u << 20) + 1, '#'));
  refuses("NIXERY_NIXPKGS_CONFIG", file.string());
  os::write_file(file, std::string((32u << 10) + 1, 't'));
  refuses("NIXERY_PKGS_TOKEN_FILE", file.string());
}

TEST_CASE("an invalid value is refused with the name of its variable") {
  refuses("NIXERY_TREE", "relative/path");
  refuses("NIXERY_LISTEN", "9000");
  refuses("NIXERY_LISTEN", "host:port");
  refuses("NIXERY_PLATFORMS", "amd64 sparc");
  refuses("NIXERY_PLATFORMS", " ,");
  refuses("NIXERY_FORMAT", "squashfs");
  refuses("NIXERY_ENCODING", "bzip2");
  refuses("NIXERY_MAX_LAYERS", "126");
  refuses("NIXERY_MAX_LAYERS", "0");
  refuses("NIXERY_MAX_LAYERS", "ten");
  refuses("NIX_TIMEOUT", "-1");
  refuses("NIX_TIMEOUT", "60s");
  refuses("NIXPKGS_ALLOW_UNFREE", "maybe");
  refuses("NIXERY_ALLOW_INSECURE", "openssl-1.[01]*");
  refuses("NIXERY_NIXPKGS_CONFIG", "/no/such/file");
  refuses("NIXERY_HOPS", "10");
  refuses("NIXERY_RESOLVE_NIX", "/no/such/file");
}

TEST_CASE("two package sources contradict each other") {
  CHECK_THROWS_WITH_AS(load({{"NIXERY_CHANNEL", "a"}, {"NIXERY_PKGS_PATH", "/b"}}),
                       "NIXERY_CHANNEL and NIXERY_PKGS_PATH are both set; a registry has one package source", Error);
}

TEST_CASE("zstd and docker's manifests contradict each other") {
  CHECK_THROWS_WITH_AS(load({{"NIXERY_FORMAT", "docker"}, {"NIXERY_ENCODING", "zstd-fast"}}),
                       doctest::Contains("NIXERY_ENCODING"), Error);
}

TEST_CASE("effective settings have their origin and no credentials") {
  const auto loaded = load({{"NIXERY_PKGS_REPO", "https://user:hunter2@host/repo.git"}});
  CHECK(loaded.config.source.location == "https://user:hunter2@host/repo.git");
  bool seen = false;
  for (const Setting& setting : loaded.settings) {
    CHECK_FALSE(setting.description.empty());
    CHECK(setting.value.find("hunter2") == std::string::npos);
    if (setting.name == "NIXERY_PKGS_REPO") seen = setting.from_environment && setting.value == "https://host/repo.git";
  }
  CHECK(seen);
}

TEST_CASE("the documented defaults are those that apply, and do not depend on the machine") {
  const auto described = described_settings();
  const auto effective = load({}).settings;
  REQUIRE(described.size() == effective.size());
  std::vector<std::string> of_the_machine;
  for (std::size_t i = 0; i < described.size(); ++i) {
    CHECK(described[i].name == effective[i].name);
    CHECK(described[i].meaning == effective[i].description);
    CHECK_MESSAGE(described[i].meaning.find_first_of("|\n") == std::string::npos, described[i].name);
    if (described[i].literal) {
      CHECK_MESSAGE(described[i].default_value == effective[i].value, described[i].name);
    } else {
      of_the_machine.push_back(described[i].name);
    }
  }
  CHECK(of_the_machine ==
        std::vector<std::string>{"NIXERY_PLATFORMS", "NIXERY_BUILDS", "NIXERY_EVALUATIONS", "NIXERY_RESOLVE_NIX"});
}

TEST_CASE("a misspelt setting is reported with the nearest one, a setting of the Go Nixery with its replacement") {
  const auto sentences =
      strange_settings(load({}).settings, {"NIXERY_CHANEL", "NIXERY_TREE", "NIXERY_STORAGE_BACKEND", "HOME",
                                           "NIXERY_CONTROLLER_HOST", "NIXERY_XYZZY_PLUGH_QUUX", "NIX_PATH"});
  REQUIRE(sentences.size() == 3);
  CHECK(sentences[0] == "NIXERY_CHANEL is not a setting of nixery: did you mean NIXERY_CHANNEL?");
  CHECK(sentences[1].find("NIXERY_TREE") != std::string::npos);
  CHECK(sentences[2] == "NIXERY_XYZZY_PLUGH_QUUX is not a setting of nixery; `nixery config` lists them");
}

TEST_CASE("a settings file is read as systemd reads it") {
  const auto variables = parse_settings_file(
      "# A=1\n; B=2\n\nNIXERY_TREE=/a b \n  X = \"quoted # word\" \nY='it'\nno line\n9Z=1\nexport "
      "Q=1\nEMPTY=\n=3\nLAST=1");
  CHECK(variables == std::vector<std::pair<std::string, std::string>>{
                         {"NIXERY_TREE", "/a b"}, {"X", "quoted # word"}, {"Y", "it"}, {"EMPTY", ""}, {"LAST", "1"}});
}

TEST_CASE("values of a settings file may be quoted in parts, escaped, and go over several lines") {
  const auto value = [](std::string_view text) {
    const auto variables = parse_settings_file(fmt::format("V={}\nZ=z", text));
    REQUIRE(variables.size() == 2);
    CHECK(variables[1] == std::pair<std::string, std::string>("Z", "z"));
    return variables[0].second;
  };
  CHECK(value("team/* \\\nbase") == "team/* base");
  CHECK(value("\"team/* \\\nbase\"") == "team/* base");
  CHECK(value("\"two\nlines\"") == "two\nlines");
  CHECK(value("'two\nlines \\'") == "two\nlines \\");
  CHECK(value("\"a\\\"b\\\\c\\d\\$\"") == "a\"b\\c\\d$");
  CHECK(value("a\\ b\\'c\\ ") == "a b'c ");
  CHECK(value("'a' \"b\" c\"d\" ") == "abc\"d\"");
  CHECK(value("1 # no comment") == "1 # no comment");
  CHECK(value("1\r") == "1");
  CHECK(parse_settings_file("# goes on \\\nA=1\nB='open").back() == std::pair<std::string, std::string>("B", "open"));
  CHECK(parse_settings_file("# goes on \\\nA=1\nB='open").size() == 1);
  CHECK(parse_settings_file("A").empty());
  CHECK(parse_settings_file("A=\\").front().second == "\\");
}
