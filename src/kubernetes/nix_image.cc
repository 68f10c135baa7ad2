#include "kubernetes/nix_image.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "error.h"
#include "image/digest.h"
#include "pipeline/declared_set.h"
#include "reference/declared.h"
#include "text/ascii.h"
#include "text/utf8.h"

namespace nixery::kubernetes {

namespace {

constexpr std::size_t max_note = 1000;  // bytes; Kubernetes allows 1024

constexpr std::size_t max_instance = 128;  // bytes, of reportingInstance

Condition parse_condition(const json::Value& value) {
  return {json::string_or(value, "type", ""),
          json::string_or(value, "status", ""),
          json::string_or(value, "reason", ""),
          json::string_or(value, "message", ""),
          json::integer_at(value, "observedGeneration").value_or(0),
          json::string_or(value, "lastTransitionTime", "")};
}

ImageStatus parse_status(const json::Value& value) {
  ImageStatus status;
  status.observed_generation = json::integer_at(value, "observedGeneration").value_or(0);
  if (const json::Value* conditions = json::find(value, "conditions"); conditions && conditions->IsArray())
    for (const json::Value& condition : conditions->GetArray()) status.conditions.push_back(parse_condition(condition));
  status.digest = json::string_or(value, "digest", "");
  status.reference = json::string_or(value, "reference", "");
  const auto count = [&](const char* key) -> std::optional<std::uint64_t> {
    const auto number = json::integer_at(value, key);
    if (!number || *number < 0) return std::nullopt;
    return static_cast<std::uint64_t>(*number);
  };
  status.size = count("size");
  status.layers = count("layers");
  status.last_error = json::string_or(value, "lastError", "");
  return status;
}

void write_condition(json::Writer& writer, const Condition& condition) {
  writer.StartObject();
  json::member(writer, "type", condition.type);
  json::member(writer, "status", condition.status);
  json::key(writer, "observedGeneration");
  writer.Int64(condition.observed_generation);
  json::member(writer, "lastTransitionTime", condition.last_transition);
  json::member(writer, "reason", condition.reason);
  json::member(writer, "message", condition.message);
  writer.EndObject();
}

void write_kind(json::Writer& writer) {
  json::member(writer, "apiVersion", api_version);
  json::member(writer, "kind", "NixImage");
}

}  // namespace

NixImage parse_nix_image(const json::Value& object) {
  const json::Value* metadata = json::find(object, "metadata");
  if (!metadata) throw Error(Failure::bad_config, "a NixImage has no metadata");
  NixImage image;
  image.namespace_name = json::string_or(*metadata, "namespace", "");
  image.name = json::string_or(*metadata, "name", "");
  // These become a path, so names that Kubernetes would not allow are refused here, too.
  const auto is_name_letter = [](char c) { return text::is_lower(c) || text::is_digit(c) || c == '-' || c == '.'; };
  for (const std::string& part : {image.namespace_name, image.name})
    if (part.empty() || part[0] == '.' || !text::all(part, is_name_letter))
      throw Error(Failure::bad_config, "a NixImage has no valid name and namespace");
  image.uid = json::string_or(*metadata, "uid", "");
  image.version = json::string_or(*metadata, "resourceVersion", "");
  image.generation = json::integer_at(*metadata, "generation").value_or(0);
  image.created = json::string_or(*metadata, "creationTimestamp", "");
  image.tag = "latest";
  if (const json::Value* data = json::find(object, "data")) {
    image.tag = json::string_or(*data, "tag", "latest");
    json::Buffer buffer;
    json::Writer writer(buffer);
    data->Accept(writer);
    if (buffer.GetSize() <= max_data) {
      image.data.assign(buffer.GetString(), buffer.GetSize());
      image.data_hash = image::Digest::of(image.data).hex();
    }
  }
  if (const json::Value* status = json::find(object, "status")) image.status = parse_status(*status);
  return image;
}

ImageDeclaration declare(const NixImage& image, const std::string& name) {
  if (image.name.size() > max_object_name)
    throw Error(Failure::bad_config, fmt::format("the object's name has more than {} characters", max_object_name));
  if (image.data.empty())
    throw Error(Failure::bad_config, fmt::format("data: it is missing, or its JSON is longer than {} bytes", max_data));
  const json::Document data = json::parse(image.data, "data");
  if (!data.IsObject()) throw Error(Failure::bad_config, "data: it must be an object");
  const std::string text = json::object([&](json::Writer& writer) {
    json::member(writer, "name", name);
    for (const auto& field : data.GetObject()) {
      json::key(writer, {field.name.GetString(), field.name.GetStringLength()});
      field.value.Accept(writer);
    }
  });
  return {text, pipeline::declaration_hash(reference::parse_declared(text, "data"))};
}

std::string status_patch(const NixImage& image, const ImageStatus& status) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  write_kind(writer);
  json::key(writer, "metadata");
  writer.StartObject();
  json::member(writer, "namespace", image.namespace_name);
  json::member(writer, "name", image.name);
  if (!image.version.empty()) json::member(writer, "resourceVersion", image.version);
  writer.EndObject();
  json::key(writer, "status");
  writer.StartObject();
  json::key(writer, "observedGeneration");
  writer.Int64(status.observed_generation);
  json::key(writer, "conditions");
  writer.StartArray();
  for (const Condition& condition : status.conditions) write_condition(writer, condition);
  writer.EndArray();
  if (!status.digest.empty()) json::member(writer, "digest", status.digest);
  if (!status.reference.empty()) json::member(writer, "reference", status.reference);
  if (status.size) json::member(writer, "size", *status.size);
  if (status.layers) json::member(writer, "layers", *status.layers);
  if (!status.last_error.empty()) json::member(writer, "lastError", status.last_error);
  writer.EndObject();
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

ImageStatus with_transitions(ImageStatus wanted, const ImageStatus& current, const std::string& now) {
  for (Condition& condition : wanted.conditions) {
    const auto before = std::find_if(current.conditions.begin(), current.conditions.end(),
                                     [&](const Condition& other) { return other.type == condition.type; });
    const bool same = before != current.conditions.end() && before->status == condition.status;
    condition.last_transition = same && !before->last_transition.empty() ? before->last_transition : now;
    condition.message = shortened(condition.message, max_message);
  }
  wanted.last_error = shortened(wanted.last_error, max_message);
  return wanted;
}

Event event_of(const NixImage& image, bool warning, const std::string& reason, const std::string& note) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {warning,
          reason,
          "Build",
          note,
          micro_timestamp_now(),
          fmt::format("{}.{:016x}", image.name, std::chrono::duration_cast<std::chrono::nanoseconds>(now).count())};
}

std::string event_json(const NixImage& image, const Event& event, const std::string& instance) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "apiVersion", "events.k8s.io/v1");
  json::member(writer, "kind", "Event");
  json::key(writer, "metadata");
  writer.StartObject();
  json::member(writer, "name", event.name);
  json::member(writer, "namespace", image.namespace_name);
  writer.EndObject();
  json::member(writer, "eventTime", event.time);
  json::member(writer, "reportingController", "k8s.nixos.org/nixery-controller");
  json::member(writer, "reportingInstance", shortened(instance, max_instance));
  json::member(writer, "action", event.action);
  json::member(writer, "reason", event.reason);
  json::member(writer, "type", event.warning ? "Warning" : "Normal");
  json::member(writer, "note", shortened(event.note, max_note));
  json::key(writer, "regarding");
  writer.StartObject();
  write_kind(writer);
  json::member(writer, "namespace", image.namespace_name);
  json::member(writer, "name", image.name);
  json::member(writer, "uid", image.uid);
  writer.EndObject();
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string shortened(std::string_view text, std::size_t most) {
  constexpr std::string_view ellipsis = "…";
  if (text.size() <= most) return std::string(text);
  return fmt::format("{}{}", text::truncated(text, most - ellipsis.size()), ellipsis);
}

std::string timestamp_now() {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now)));
}

std::string micro_timestamp_now() {
  const auto now = std::chrono::system_clock::now();
  const auto second = std::chrono::floor<std::chrono::seconds>(now);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now - second).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(second)), micros);
}

}  // namespace nixery::kubernetes
