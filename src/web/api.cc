#include "web/api.h"

#include <fmt/format.h>

#include "error.h"
#include "http/answers.h"
#include "json/json.h"
#include "reference/reference.h"
#include "text/encoding.h"
#include "text/public_text.h"
#include "tree/failures.h"
#include "tree/recent.h"
#include "web/build_events.h"
#include "web/image_report.h"

namespace nixery::web {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t found_at_once = 50;
constexpr std::size_t listed_at_once = 50;
constexpr std::size_t longest_search = 100;  // characters

// Headers that allow browsers only to pass the response to the requesting page.
http::Response guarded(http::Response response) {
  response.header("Cache-Control", "no-store")
      .header("Content-Security-Policy",
              "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
      .header("Cross-Origin-Resource-Policy", "same-origin")
      .header("Referrer-Policy", "no-referrer");
  return response;
}

http::Response answer(std::string body) {
  return guarded(http::answer_json(std::move(body)));
}

http::Response answer_later(std::string body) {
  http::Response response = answer(std::move(body));
  response.status = 202;
  response.header("Retry-After", "2");
  return response;
}

}  // namespace

reference::Reference Api::find(std::string_view image) const {
  const auto [name, tag] = reference::split_tag(image);
  return builder_.find(name, tag);
}

http::HandlerResult Api::search(const http::Request& request) const {
  const auto text = text::percent_decode(http::query_parameter(request.query, "q").value_or(""));
  if (!text) throw Error(Failure::bad_query, "the parameter 'q' has a malformed %-escape");
  if (text->size() > longest_search)
    throw Error(Failure::bad_query, fmt::format("the parameter 'q' is longer than {} characters", longest_search));
  const auto matches = planner_.search(*text, found_at_once, request.client);
  if (matches.known || !matches.lookup) return answer(matches_json(*text, matches));

  const auto later = [this, text = *text] { return answer_later(matches_json(text, {})); };
  return http::Waiting{
      request, matches.lookup, Clock::now() + settings_.evaluation_wait,
      [this, lookup = matches.lookup, text = *text, client = request.client, later] {
        const auto error = lookup->error();
        if (error && error->failure() == Failure::unknown_package)
          return answer(matches_json(text, {{}, false, nullptr, true}));  // a missing set has no packages
        if (error) return guarded(http::answer_error(*error));
        const auto found = planner_.search(text, found_at_once, client);
        return found.known ? answer(matches_json(text, found)) : later();
      },
      later};
}

std::string Api::matches_json(const std::string& text, const pipeline::Planner::Matches& matches) const {
  return json::object([&](json::Writer& writer) {
    json::member(writer, "query", text);
    json::key(writer, "known");
    writer.Bool(matches.known);
    json::key(writer, "more");
    writer.Bool(matches.more);
    json::key(writer, "packages");
    writer.StartArray();
    for (const std::string& name : matches.names) {
      auto facts = planner_.facts_of(name);
      const auto digest = tree_.digest_of_tag(name, "latest");
      if (digest && facts.version.empty() && facts.description.empty()) {
        const auto summary = summary_of(tree_, *digest);
        facts = {summary.version, summary.description};
      }
      writer.StartObject();
      json::member(writer, "name", name);
      json::member(writer, "version", facts.version);
      json::member(writer, "description", facts.description);
      json::key(writer, "built");
      writer.Bool(digest.has_value());
      writer.EndObject();
    }
    writer.EndArray();
  });
}

http::HandlerResult Api::plan(const http::Request& request, std::string_view image) const {
  const auto reference = find(image);
  const auto job = planner_.start_plan(reference, request.client);
  return http::Waiting{request, job, Clock::now() + settings_.evaluation_wait,
                       [job] {
                         const auto result = *job->result();
                         return result.error ? guarded(http::answer_error(*result.error)) : answer(*result.value);
                       },
                       [job, reference] {
                         return answer_later(json::object([&](json::Writer& writer) {
                           json::member(writer, "reference", fmt::format("{}:{}", reference.repository, reference.tag));
                           json::member(writer, "text", text::public_text(job->state().snapshot().text()));
                         }));
                       }};
}

void Api::check_lists() const {
  if (!settings_.lists)
    throw Error(Failure::switched_off, "this registry does not list what it has: pull any image by its name");
}

http::HandlerResult Api::images(const http::Request& request) const {
  check_lists();
  const auto list = listed_.get();
  if (!list.job) return answer(*list.value);
  const auto last = [this] {
    if (const auto value = listed_.last()) return answer(*value);
    return answer_later(
        json::object([](json::Writer& writer) { json::member(writer, "text", "the list of images is being made"); }));
  };
  return http::Waiting{request, list.job, Clock::now() + settings_.evaluation_wait,
                       [job = list.job, last] {
                         if (const auto error = job->error()) return guarded(http::answer_error(*error));
                         return last();
                       },
                       last};
}

std::string Api::make_list() const {
  return json::object([&](json::Writer& writer) {
    json::key(writer, "images");
    writer.StartArray();
    for (const tree::RecentTag& recent : tree::recent_tags(tree_, listed_at_once)) {
      const auto summary = summary_of(tree_, recent.manifest);
      writer.StartObject();
      json::member(writer, "name", recent.repository);
      json::member(writer, "tag", recent.tag);
      json::member(writer, "digest", recent.manifest.str());
      json::member(writer, "time", static_cast<std::uint64_t>(std::max<std::int64_t>(recent.time, 0)));
      json::member(writer, "size", summary.size);
      json::member(writer, "layers", summary.layers);
      json::member_strings(writer, "architectures", summary.architectures);
      writer.EndObject();
    }
    writer.EndArray();
  });
}

http::Response Api::image(std::string_view image) const {
  const auto reference = find(image);
  const auto digest = tree_.digest_of_tag(reference.repository, reference.tag);
  if (!digest || !builder_.tag_matches(reference))
    throw Error(Failure::unknown_tag, fmt::format("'{}:{}' is not built yet: an image is built when it is pulled",
                                                  reference.repository, reference.tag));
  return answer(image_report(tree_, reference.repository, reference.tag, *digest));
}

http::Response Api::failures() const {
  check_lists();
  return answer(json::object([&](json::Writer& writer) {
    json::key(writer, "failures");
    writer.StartArray();
    for (const tree::FailureRecord& record : tree::recent_failures(tree_.store(), listed_at_once)) {
      writer.StartObject();
      json::member(writer, "name", record.repository);
      json::member(writer, "tag", record.tag);
      json::member(writer, "failure", record.failure);
      json::member(writer, "message", text::public_text(record.message));
      json::member(writer, "log", text::public_text(record.detail));
      json::member(writer, "time", static_cast<std::uint64_t>(std::max<std::int64_t>(record.time, 0)));
      writer.EndObject();
    }
    writer.EndArray();
  }));
}

http::Response Api::build(std::string_view image) const {
  return answer(build_state(builder_, tree_, find(image)));
}

http::Streaming Api::events(std::string_view image) const {
  http::Response head;
  head.streamed = true;
  head.header("Content-Type", "text/event-stream")
      .header("X-Content-Type-Options", "nosniff")
      .header("X-Accel-Buffering", "no");  // otherwise nginx would buffer it
  const auto feed = std::make_shared<BuildEvents>(builder_, tree_, find(image));
  return {guarded(std::move(head)), [feed] { return feed->next(); }};
}

}  // namespace nixery::web
