#include "reference/declared.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "error.h"
#include "pipeline/declared_set.h"
#include "reference/declared_fields.h"
#include "temporary_directory.h"

using namespace nixery;
using namespace std::chrono_literals;
using reference::parse_declared;

namespace {

std::string problem_of(std::string_view text) {
  try {
    parse_declared(text, "images/web.json");
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::bad_config);
    return error.what();
  }
  FAIL("accepted: " << text);
  return {};
}

// A valid image except for its config.
std::string problem_of_config(const std::string& config) {
  return problem_of(R"({"name": "web", "contents": ["nginx"], "config": )" + config + "}");
}

void check_contains(const std::string& text, std::string_view part) {
  CHECK_MESSAGE(text.find(part) != std::string::npos, "'" << part << "' is not in: " << text);
}

std::string declaration(const std::string& name, const std::string& package, const std::string& tag = "latest") {
  return R"({"name": ")" + name + R"(", "tag": ")" + tag + R"(", "contents": [")" + package + R"("]})";
}

// A directory of declarations and a set that reads it at every access.
struct Images {
  test::TemporaryDirectory top;
  std::filesystem::path directory = top.path() / "images";

  Images() { std::filesystem::create_directory(directory); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(directory / name) << text; }
  void replace(const std::string& name, const std::string& text) const {
    write(".new", text);
    std::filesystem::rename(directory / ".new", directory / name);
  }
};

std::string package_of(pipeline::DeclaredSet& set, std::string_view name, std::string_view tag = "latest") {
  const auto found = set.current()->find(name, tag);
  return found ? found->image.contents.front().text : "";
}

}  // namespace

TEST_CASE("a declared image is read with all of its fields") {
  const auto image = parse_declared(R"({
    "name": "web/frontend", "tag": "v1", "contents": ["nginx", "python3Packages.requests"], "platform": "arm64",
    "source": "nixos-24.05",
    "config": {"cmd": ["-g", ""], "entrypoint": ["nginx"], "env": {"B": "2", "A": "1=1"}, "user": "101:101",
               "workdir": "/srv", "labels": {"team": "web"}, "exposedPorts": ["80/tcp", "443", "53/udp"]}})",
                                    "web.json");
  CHECK(image.name == "web/frontend");
  CHECK(image.tag == "v1");
  CHECK(image.contents == std::vector<reference::AttributePath>{{"nginx"}, {"python3Packages.requests"}});
  CHECK(image.platform->nix_system == "aarch64-linux");
  CHECK(image.source == "nixos-24.05");
  CHECK(image.config.cmd == std::vector<std::string>{"-g", ""});
  CHECK(image.config.entrypoint == std::vector<std::string>{"nginx"});
  CHECK(image.config.env == std::map<std::string, std::string>{{"A", "1=1"}, {"B", "2"}});
  CHECK(image.config.user == "101:101");
  CHECK(image.config.workdir == "/srv");
  CHECK(image.config.labels == std::map<std::string, std::string>{{"team", "web"}});
  CHECK(image.config.exposed_ports == std::vector<std::string>{"443/tcp", "53/udp", "80/tcp"});
}

TEST_CASE("name and contents suffice, and an absent command differs from an empty one") {
  const auto image = parse_declared(R"({"name": "web", "contents": ["nginx"]})", "web.json");
  CHECK(image.tag == "latest");
  CHECK_FALSE(image.platform);
  CHECK(image.source.empty());
  CHECK(image.config == reference::ImageConfig{});
  const auto none = parse_declared(R"({"name": "web", "contents": ["nginx"], "config": {"cmd": []}})", "web.json");
  CHECK(none.config.cmd == std::vector<std::string>{});
  CHECK(reference::canonical_json(image) != reference::canonical_json(none));
}

TEST_CASE("variables may be a list or an object, and mean the same") {
  const auto list = parse_declared(R"({"name":"w","contents":["x"],"config":{"env":["B=2","A=1=1","C="]}})", "f");
  const auto object =
      parse_declared(R"({"contents":["x"],"config":{"env":{"A":"1=1","C":"","B":"2"}},"name":"w"})", "f");
  CHECK(list == object);
  CHECK(reference::canonical_json(list) == reference::canonical_json(object));
}

TEST_CASE("a mistake in any field is reported with file, field and what is allowed") {
  CHECK(problem_of_config(R"({"exposedPorts": ["80/tcp", "80/http"]})") ==
        "images/web.json: config.exposedPorts[1]: '80/http' is not a port: give a number from 1 to 65535, with /tcp, "
        "/udp "
        "or "
        "/sctp");
  const std::vector<std::pair<const char*, const char*>> mistakes = {
      {R"({"contents": ["nginx"]})", "images/web.json: the field 'name' is missing"},
      {R"({"name": "web"})", "images/web.json: the field 'contents' is missing"},
      {R"({"name": "Web", "contents": ["nginx"]})", "name: 'Web' is not an image name"},
      {R"({"name": "a/../b", "contents": ["nginx"]})", "name: 'a/../b' is not an image name"},
      {R"({"name": "", "contents": ["nginx"]})", "name: '' is not an image name"},
      {R"({"name": 7, "contents": ["nginx"]})", "name: this is a number: give the image's name"},
      {R"({"name": "web", "tag": "-x", "contents": ["nginx"]})", "tag: '-x' is not a tag"},
      {R"({"name": "web", "tag": null, "contents": ["nginx"]})", "tag: this is null"},
      {R"({"name": "web", "contents": "nginx"})", "contents: this is a string: give a list of packages"},
      {R"({"name": "web", "contents": []})", "contents: this is empty"},
      {R"({"name": "web", "contents": ["nginx", 7]})", "contents[1]: this is a number: give a string"},
      {R"({"name": "web", "contents": ["nginx", "a b"]})", "contents[1]: 'a b' is not an attribute path"},
      {R"({"name": "web", "contents": ["nginx", "nginx"]})", "contents[1]: 'nginx' is listed twice"},
      {R"({"name": "web", "contents": ["shell"]})",
       "contents[0]: 'shell' is a part of image names: list bashInteractive"},
      {R"({"name": "web", "contents": ["arm64"]})", "contents[0]: 'arm64' is a part of image names: say \"platform\""},
      {R"({"name": "web", "contents": ["nginx"], "platform": "arm"})",
       "platform: 'arm' is not a platform: give amd64 or"},
      {R"({"name": "web", "contents": ["nginx"], "source": "a/b"})", "source: 'a/b' is not a tag"},
      {R"({"name": "web", "contnets": ["nginx"]})", "unknown field 'contnets': did you mean 'contents'?"},
      {R"({"name": "web", "contents": ["nginx"], "zzz": 1})", "unknown field 'zzz'"},
      {R"({"name": "web", "contents": ["nginx"], "name": "x"})", "the field 'name' is given twice"},
      {R"([])", "images/web.json: this is a list: give an object"},
  };
  for (const auto& [text, message] : mistakes) check_contains(problem_of(text), message);
  check_contains(problem_of(R"({"name":"web","contents":["x"],"tag":"sha256-)" + std::string(64, 'a') + R"(.sig"})"),
                 "is reserved for signatures");

  const std::vector<std::pair<const char*, const char*>> of_config = {
      {"[]", "config: this is a list: give an object"},
      {R"({"Entrypoints": []})", "config: unknown field 'Entrypoints': did you mean 'entrypoint'?"},
      {R"({"workingDir": "/"})", "config: unknown field 'workingDir': did you mean 'workdir'?"},
      {R"({"ports": []})", "did you mean 'exposedPorts'?"},
      {R"({"cmd": "nginx -g"})", "config.cmd: this is a string: give a list of strings"},
      {R"({"cmd": ["nginx", 7]})", "config.cmd[1]: this is a number"},
      {R"({"cmd": [""]})", "config.cmd[0]: this is empty: name the program"},
      {R"({"entrypoint": ["", "x"]})", "config.entrypoint[0]: this is empty: name the program"},
      {R"({"cmd": ["a\u0000b"]})", "config.cmd[0]: a NUL character"},
      {R"({"env": "A=1"})", "config.env: this is a string: give an object"},
      {R"({"env": ["A=1", "B"]})", "config.env[1]: 'B' has no '='"},
      {R"({"env": ["A=1", "A=2"]})", "config.env[1]: the variable 'A' is given twice"},
      {R"({"env": ["=1"]})", "config.env[0]: '' is not a variable's name"},
      {R"({"env": {"1A": "x"}})", "config.env['1A']: '1A' is not a variable's name"},
      {R"({"env": {"PORT": 8080}})", "config.env['PORT']: this is a number: give its value in quotes"},
      {R"({"env": {"A": "1", "A": "2"}})", "config.env['A']: the variable 'A' is given twice"},
      {R"({"user": "a b"})", "config.user: 'a b' is not a user of the image, which has root, daemon"},
      {R"({"user": 0})", "config.user: this is a number: give a user, such as \"nobody\""},
      {R"({"workdir": "srv"})", "config.workdir: 'srv' is not a working directory: give an absolute path"},
      {R"({"workdir": "/a/.."})", "config.workdir: '/a/..' is not a working directory"},
      {R"({"labels": ["a"]})", "config.labels: this is a list: give an object"},
      {R"({"labels": {"a b": "x"}})", "config.labels['a b']: this is not a label's name"},
      {R"({"labels": {"a": true}})", "config.labels['a']: this is true or false: give its value in quotes"},
      {R"({"labels": {"a": "1", "a": "2"}})", "config.labels['a']: this label is given twice"},
      {R"({"labels": {"io.nixery.packages": "x"}})", "config.labels['io.nixery.packages']: labels that begin with"},
      {R"({"exposedPorts": {"80": {}}})", "config.exposedPorts: this is an object: give a list of ports"},
      {R"({"exposedPorts": [80]})", "config.exposedPorts[0]: this is a number"},
      {R"({"exposedPorts": ["80", "80/tcp"]})", "config.exposedPorts[1]: '80/tcp' is listed twice"},
  };
  for (const auto& [config, message] : of_config) check_contains(problem_of_config(config), message);
}

TEST_CASE("all problems of a file are reported together, up to a limit") {
  try {
    parse_declared(R"({"name": "Web", "contents": [], "config": {"user": "a b"}})", "w.json");
    FAIL("accepted");
  } catch (const Error& error) {
    check_contains(error.what(), "w.json: name: ");
    check_contains(error.detail(), "\nw.json: contents: ");
    check_contains(error.detail(), "\nw.json: config.user: ");
  }
  std::string bad = R"({"name": "web", "contents": ["x"])";
  for (int i = 0; i < 25; ++i) bad += ", \"wrong" + std::to_string(i) + "\": 1";
  try {
    parse_declared(bad + "}", "w.json");
    FAIL("accepted");
  } catch (const Error& error) {
    check_contains(error.detail(), "\nw.json: and 5 more problems");
  }
}

TEST_CASE("limits hold") {
  const auto list = [](std::size_t count, const char* item) {
    std::string text = "[";
    for (std::size_t i = 0; i < count; ++i) text += (i ? ", \"" : "\"") + std::string(item) + std::to_string(i) + '"';
    return text + "]";
  };
  check_contains(problem_of(R"({"name": "web", "contents": )" + list(65, "p") + "}"), "65 entries; at most 64");
  CHECK_NOTHROW(parse_declared(R"({"name": "web", "contents": )" + list(64, "p") + "}", "f"));
  check_contains(problem_of_config(R"({"cmd": )" + list(257, "a") + "}"), "257 entries; at most 256");
  check_contains(problem_of_config(R"({"exposedPorts": )" + list(129, "1") + "}"), "129 entries; at most 128");
  check_contains(problem_of_config(R"({"cmd": [")" + std::string(32769, 'a') + R"("]})"),
                 "32769 bytes long; at most 32768");
  check_contains(problem_of(std::string(reference::max_declared_bytes + 1, ' ')), "at most 262144 are allowed");
  std::string variables;
  for (int i = 0; i < 257; ++i) variables += (i ? ", \"A" : "\"A") + std::to_string(i) + "\": \"\"";
  check_contains(problem_of_config(R"({"env": {)" + variables + "}}"), "257 variables; at most 256");
  check_contains(problem_of_config(R"({"labels": {)" + variables + "}}"), "257 labels; at most 256");
}

TEST_CASE("any hostile JSON is refused with a message") {
  const std::string good = declaration("web", "nginx");
  for (const std::string& text : {std::string(),
                                  std::string("{"),
                                  std::string("null"),
                                  good + "x",
                                  good + good,
                                  good + '\0' + "x",
                                  "\xef\xbb\xbf\xff" + good,
                                  std::string(100'000, '['),
                                  std::string("{\"name\":\"\xff\"}"),
                                  std::string(R"({"name": "\ud800", "contents": ["x"]})"),
                                  std::string("{\"a\":1e999}"),
                                  declaration("web\\u0000", "nginx"),
                                  declaration("web", "../../etc"),
                                  declaration("web", "a\\nb"),
                                  declaration("web", "${x}"),
                                  declaration("web", "a;b"),
                                  declaration("web", "a..b"),
                                  declaration("web", ".a"),
                                  declaration("web", "a."),
                                  declaration("web", "-a"),
                                  declaration("web", "\xc3\xa9")})
    check_contains(problem_of(text), "images/web.json: ");
  const std::string message = problem_of(declaration("web", "a\\u001b[31m\\n" + std::string(200, 'b')));
  check_contains(message, "'a?[31m?bbb");
  CHECK(message.size() < 300);
}

TEST_CASE("values must have the right type") {
  using namespace reference;
  for (const char* path : {"git", "python3Packages.requests", "_7zz", "a'", "gtk+3", "python3Packages.3to2", "a-b_c"})
    CHECK_MESSAGE(is_attribute_path(path), path);
  CHECK_FALSE(is_attribute_path("a.b.c.d.e.f.g.h.i"));
  CHECK_FALSE(is_attribute_path(std::string(256, 'a')));
  for (const char* port : {"", "0", "65536", "080", "80/", "80/TCP", "80-81", "-1", "80/tcp/", " 80", "80/icmp"})
    CHECK_FALSE_MESSAGE(port_of(port), port);
  CHECK(port_of("65535") == "65535/tcp");
  CHECK(port_of("9/sctp") == "9/sctp");
  for (const char* path : {"/", "/srv", "/a..b", "/a b"}) CHECK_MESSAGE(is_workdir(path), path);
  for (const char* path : {"", "a", "/..", "/../a", "/a/../b", "/a\n"}) CHECK_FALSE_MESSAGE(is_workdir(path), path);
  for (const char* name : {"PATH", "a.b-c", "_"}) CHECK_MESSAGE(is_variable_name(name), name);
  for (const char* name : {"", "1", "A B", "A="}) CHECK_FALSE_MESSAGE(is_variable_name(name), name);
  for (const char* name : {"team", "org.example/team", "1"}) CHECK_MESSAGE(is_label_name(name), name);
  for (const char* name : {"", ".a", "a.", "a=b"}) CHECK_FALSE_MESSAGE(is_label_name(name), name);
}

TEST_CASE("an invalid file does not hide valid ones") {
  const Images images;
  images.write("a.json", "{");
  images.write("b.json", declaration("web", "nginx", "v1"));
  images.write("c.json", R"({"name": "Bad", "contents": []})");
  images.write("notes.txt", "not ours");
  images.write(".hidden.json", "{");
  REQUIRE(mkfifo((images.directory / "pipe.json").c_str(), 0600) == 0);
  std::filesystem::create_directory(images.directory / "dir.json");
  std::filesystem::create_symlink("nowhere", images.directory / "dangling.json");
  pipeline::DeclaredSet set(images.directory, 0ms);
  const auto current = set.current();
  CHECK(package_of(set, "web", "v1") == "nginx");
  CHECK_FALSE(current->find("web", "latest"));
  CHECK(current->tags("web") == std::vector<std::string>{"v1"});
  CHECK_FALSE(current->complete());
  REQUIRE(current->problems().size() == 6);
  check_contains(current->problems()[0], "images/a.json: byte 1: ");
  check_contains(current->problems()[1], "images/c.json: name: 'Bad'");
  check_contains(current->problems()[2], "images/c.json: contents: ");
  check_contains(current->problems()[3], "images/dangling.json: cannot read it: No such file");
  check_contains(current->problems()[4], "images/dir.json: this is not a file");
  check_contains(current->problems()[5], "images/pipe.json: this is not a file");
}

TEST_CASE("added, changed and removed files are noticed without a restart") {
  const Images images;
  pipeline::DeclaredSet set(images.directory, 0ms);
  const auto empty = set.current();
  CHECK(empty->images().empty());
  CHECK(set.current() == empty);  // nothing changed: nothing is rebuilt

  images.replace("web.json", declaration("web", "nginx"));
  CHECK(package_of(set, "web") == "nginx");
  const auto before = set.current();
  CHECK(before->generation() > empty->generation());
  CHECK(set.current() == before);
  for (const char* package : {"curl", "wget", "jqjq"}) {  // same size, perhaps within one tick of the clock
    images.write("web.json", declaration("web", package));
    CHECK(package_of(set, "web") == package);
  }
  CHECK(before->find("web", "latest")->image.contents.front().text == "nginx");  // a reader's set never changes
  CHECK(before->find("web", "latest")->hash != set.current()->find("web", "latest")->hash);

  std::filesystem::remove(images.directory / "web.json");
  CHECK(package_of(set, "web") == "");
  CHECK(set.current()->problems().empty());
  CHECK(set.current()->complete());
}

TEST_CASE("a half-written file keeps the old declaration and is reported") {
  const Images images;
  images.write("web.json", declaration("web", "nginx"));
  pipeline::DeclaredSet set(images.directory, 0ms);
  const std::string next = declaration("web", "curl");
  for (const std::size_t written : {std::size_t{0}, std::size_t{1}, next.size() / 2, next.size() - 1}) {
    images.write("web.json", next.substr(0, written));
    CHECK(package_of(set, "web") == "nginx");
    REQUIRE(set.current()->problems().size() == 1);
    check_contains(set.current()->problems()[0], "(its previous declaration stays in force)");
    CHECK(set.current()->complete());
  }
  images.write("web.json", next);
  CHECK(package_of(set, "web") == "curl");
  CHECK(set.current()->problems().empty());
}

TEST_CASE("a missing directory removes no image") {
  const Images images;
  images.write("web.json", declaration("web", "nginx"));
  pipeline::DeclaredSet set(images.directory, 0ms);
  std::filesystem::rename(images.directory, images.top.path() / "elsewhere");
  CHECK(package_of(set, "web") == "nginx");
  check_contains(set.current()->problems().at(0), "images: cannot read the directory: No such file");
  std::filesystem::rename(images.top.path() / "elsewhere", images.directory);
  CHECK(set.current()->problems().empty());
  pipeline::DeclaredSet none({}, 0ms);
  CHECK(none.current()->problems().empty());
  pipeline::DeclaredSet missing(images.top.path() / "missing", 0ms);
  CHECK_FALSE(missing.current()->complete());
  CHECK(missing.current()->problems().size() == 1);
}

TEST_CASE("of two files with one name the first is served and both are reported") {
  const Images images;
  images.write("b.json", declaration("web", "curl"));
  images.write("a.json", declaration("web", "nginx"));
  images.write("c.json", declaration("web", "jq", "v2"));
  pipeline::DeclaredSet set(images.directory, 0ms);
  CHECK(package_of(set, "web") == "nginx");
  CHECK(package_of(set, "web", "v2") == "jq");
  REQUIRE(set.current()->problems().size() == 2);
  check_contains(set.current()->problems()[0],
                 "images/a.json: name: 'web:latest' is declared twice, in images/b.json too; this");
  check_contains(set.current()->problems()[1],
                 "images/b.json: name: 'web:latest' is declared twice, in images/a.json too; that");
  std::filesystem::remove(images.directory / "a.json");
  CHECK(package_of(set, "web") == "curl");
  CHECK(set.current()->problems().empty());
}

TEST_CASE("the hash depends on the declaration, not on its formatting or name") {
  const Images images;
  images.write("a.json", declaration("one", "nginx"));
  images.write("b.json", R"({"contents":["nginx"], "name":"two"})");
  images.write("c.json", R"({"contents":["nginx"], "name":"three", "config": {"env": {"A": "1"}}})");
  pipeline::DeclaredSet set(images.directory, 0ms);
  const auto hash = [&](const char* name) { return set.current()->find(name, "latest")->hash; };
  CHECK(hash("one") == hash("two"));
  CHECK(hash("one") != hash("three"));
  CHECK(hash("one").size() == 64);
}

TEST_CASE("names that are also packages or meta-packages are reported") {
  const Images images;
  const std::vector<std::string> names = {"amd64",     "arm64/web", "curl", "gzip/web", "mine",
                                          "shell/web", "team/web",  "zstd", "git/web"};
  for (std::size_t i = 0; i < names.size(); ++i) images.write(std::to_string(i) + ".json", declaration(names[i], "x"));
  pipeline::DeclaredSet set(images.directory, 0ms);
  std::vector<std::string> asked;
  const auto clashes = set.current()->clashes([&](const reference::AttributePath& path) {
    asked.push_back(path.text);
    return path.text == "curl" || path.text == "git" || path.text == "zstd";
  });
  CHECK(asked == std::vector<std::string>{"curl", "git", "mine", "team", "zstd"});
  CHECK(set.current()->first_parts().size() == asked.size());
  REQUIRE(clashes.size() == 7);
  check_contains(clashes[0], "images/0.json: name: 'amd64' begins with 'amd64', which chooses the platform");
  check_contains(clashes[1], "'arm64/web' begins with 'arm64', which chooses the platform");
  check_contains(clashes[2], "images/2.json: name: 'curl' is a package too; the declared image takes precedence");
  check_contains(clashes[3], "'gzip/web' begins with 'gzip', which chooses the compression");
  check_contains(clashes[4], "'shell/web' begins with 'shell', which stands for bash");
  check_contains(clashes[5], "'zstd' is a package too");
  check_contains(clashes[6], "'git/web' begins with the package 'git'");
  CHECK(set.current()->clashes({}).size() == 4);
}

TEST_CASE("concurrent readers see complete declarations, never none") {
  const Images images;
  images.write("web.json", declaration("web", "nginx"));
  images.write("stable.json", declaration("stable", "hello"));
  pipeline::DeclaredSet set(images.directory, 0ms);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i)
    readers.emplace_back([&] {
      std::uint64_t last = 0;
      while (!stop) {
        const auto current = set.current();
        const auto web = current->find("web", "latest"), stable = current->find("stable", "latest");
        if (!web || !stable || !web->image.contents.front().text.starts_with("nginx")) ++wrong;
        if (current->generation() < last) ++wrong;
        last = current->generation();
      }
    });
  for (int i = 0; i < 200; ++i) {
    const std::string text = declaration("web", "nginx" + std::to_string(i));
    if (i % 2)
      images.replace("web.json", text);
    else
      images.write("web.json", text);  // truncated for a moment
    if (i % 7 == 0) images.write("other" + std::to_string(i) + ".json", i % 2 ? "{" : declaration("other", "jq"));
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(package_of(set, "web") == "nginx199");
}
