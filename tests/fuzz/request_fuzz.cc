// Requests from a web server: NUL-terminated "NAME=value" pairs, as in FastCGI, until an empty one; the rest is the
// message of a build that fails while the request waits for it.
//
// The registry is the real one on a scratch tree. No job ever starts, so nothing is built; pending requests are resumed
// before the job finishes, with a failure.
#include <map>

#include "check.h"
#include "http/answers.h"
#include "layer/index.h"
#include "routes.h"
#include "text/encoding.h"
#include "tree/directory_store.h"

using namespace nixery;
using fuzz::require;

namespace {

struct NoSource : nix::Source {
  std::string config_fingerprint() const override { return "none"; }
  nix::Revision find(std::string_view, const std::stop_token&) override {
    throw Error(Failure::unavailable, "no source");
  }
  nix::PinnedSource fetch(const nix::Revision&, const std::stop_token&) override {
    throw Error(Failure::unavailable, "no source");
  }
};

// The tree has git:latest, a blob, and the recipe of a missing blob.
struct House {
  const std::filesystem::path directory = fuzz::scratch_directory();
  const tree::Tree tree{std::make_shared<tree::DirectoryStore>(directory / "tree", directory / "state")};
  NoSource source;
  layer::Writer writer{prepared().store()};
  metrics::Metrics metrics;
  const pipeline::ImagePipeline pipeline{{}, tree, source, writer, metrics};
  pipeline::DeclaredSet declared{{}};

  House() {
    tree.publish_tag("git", "latest", tree.publish_manifest("{}", image::MediaType::oci_manifest));
    tree.publish_blob("a blob");
    layer::Recipe gone{layer::format_version, {}, image::Digest::of(""), 100, image::Digest::of(""), 2048, {}, {}, {}};
    layer::remember(tree.store(), gone);
  }
  const tree::Tree& prepared() const {
    tree.store().prepare();
    return tree;
  }
};

using Variables = std::map<std::string, std::string, std::less<>>;

http::Request request_of(const Variables& variables) {
  return http::read_request([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

bool is_token(std::string_view name) {
  return !name.empty() &&
         name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") == name.npos;
}

void check_error(const http::Response& response) {
  const auto document = fuzz::strict_json(response.body);
  require(!document.HasParseError() && document.IsObject() && document.HasMember("errors"), "an error is JSON",
          response.body);
  const auto& errors = document["errors"];
  require(errors.IsArray() && errors.Size() == 1, "there is one error", response.body);
  require(errors[0]["code"].IsString() && errors[0]["code"].GetStringLength() > 0, "it has a code", response.body);
  require(errors[0]["message"].IsString() && errors[0]["message"].GetStringLength() > 0, "it has a message",
          response.body);
}

// The redirect must repeat the same request.
void check_redirect(const http::Request& request, const http::Response& response) {
  std::string location;
  for (const auto& [name, value] : response.headers)
    if (name == "Location") location = value;
  require(location.starts_with("/v2/"), "a redirect stays in the registry", location);
  for (const char c : location) require(c > ' ' && c < 127, "a location is printable ASCII", location);
  const auto next = request_of({{"REQUEST_METHOD", request.method}, {"REQUEST_URI", location}});
  require(next.path == request.path, "a redirect leads to the same path", location);
  require(http::hop_of(next) == http::hop_of(request) + 1, "the hop counter is incremented", location);
  require(location.size() <= 3 * request.target.size() + 64, "a redirect does not grow", location);
}

void check(const http::Request& request, const http::Response& response) {
  require(http::reason_phrase(response.status) != "Unknown", "the status is known", std::to_string(response.status));
  std::size_t lines = 3;  // Status, Content-Length, the empty one
  for (const auto& [name, value] : response.headers) {
    require(is_token(name), "a header's name is a token", name);
    require(fuzz::is_one_line(value), "a header's value is one line", value);
    ++lines;
  }
  const std::string head = http::head_of(response);
  for (std::size_t at = 0; (at = head.find("\r\n", at)) != head.npos; at += 2) --lines;
  require(lines == 0 && head.ends_with("\r\n\r\n") && head.starts_with("Status: "), "the head has only expected lines",
          head);

  if (response.status >= 400) check_error(response);
  if (response.status == 307) check_redirect(request, response);
  if (request.method != "GET" && request.method != "HEAD") require(response.status == 405, "other methods are 405");
  if (response.status == 200 && !response.file) {
    for (const auto& [name, value] : response.headers)
      if (name == "Docker-Content-Digest")
        require(value == image::Digest::of(response.body).str(), "the digest is the body's", value);
  }
}

void check_query(std::string_view query) {
  for (const char* name : {"nixery-hop", "ns", "n"}) {
    const std::string set = http::with_query_parameter(query, name, "7");
    require(http::query_parameter(set, name) == "7", "a parameter that was set is there", set);
    require(http::with_query_parameter(set, name, "7") == set, "setting it again changes nothing", set);
    for (const char* other : {"nixery-hop", "ns", "n"})
      require(other == name || http::query_parameter(set, other) == http::query_parameter(query, other),
              "other parameters are unchanged", set);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static House house;
  std::string_view rest = fuzz::text_of(data, size);
  Variables variables;
  while (!rest.empty()) {
    std::string_view value = fuzz::take_until(rest, '\0');
    if (value.empty()) break;
    const std::string_view name = fuzz::take_until(value, '=');
    variables.emplace(name, value);
  }
  const http::Request request = request_of(variables);
  check_query(request.query);
  if (const auto decoded = text::percent_decode(request.path))
    require(decoded->size() <= request.path.size(), "decoding never grows", request.path);

  constexpr jobs::JobLimits nothing_runs{0, 1, std::chrono::seconds(30)};
  pipeline::Builder builder(house.pipeline, house.tree, house.source, house.writer, house.declared, nothing_runs);
  pipeline::Planner planner(house.pipeline, house.tree, house.source, nothing_runs);
  const registry_api::RegistryApi registry(builder, house.tree, {.hop = std::chrono::seconds(0), .hops = 3});
  const web::Api web(builder, planner, house.tree, {.evaluation_wait = std::chrono::seconds(0)});
  const auto answer = Router({&registry, &web}).answer(request);
  if (const auto* response = std::get_if<http::Response>(&answer)) {
    check(request, *response);
    return 0;
  }
  if (const auto* streaming = std::get_if<http::Streaming>(&answer)) {
    check(request, streaming->head);
    return 0;
  }
  const auto& waiting = std::get<http::Waiting>(answer);
  check(request, http::resume(waiting));
  for (const Failure failure : {Failure::build_failed, Failure::evaluation_failed, Failure::storage}) {
    const Error error(failure, "it failed: " + std::string(rest), std::string(rest));
    check(request, http::answer_error(error));  // as when_finished() does for a job that failed
  }
  return 0;
}
