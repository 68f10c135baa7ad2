#include "doctor/fastcgi_client.h"

#include <charconv>
#include <cstdint>

#include "error.h"

namespace nixery::doctor {

namespace {

enum Kind : unsigned char { begin_request = 1, end_request = 3, params = 4, standard_input = 5, standard_output = 6 };
constexpr std::size_t largest_answer = 1u << 20;

std::string record(Kind kind, std::string_view content) {
  const auto size = static_cast<std::uint16_t>(content.size());
  std::string bytes = {
      1, static_cast<char>(kind), 0, 1, static_cast<char>(size >> 8), static_cast<char>(size & 0xff), 0, 0};
  return bytes.append(content);
}

// Lengths over 127 take four bytes, the first bit set.
std::string length(std::size_t size) {
  if (size < 128) return {static_cast<char>(size)};
  return {static_cast<char>(size >> 24 | 0x80), static_cast<char>(size >> 16 & 0xff),
          static_cast<char>(size >> 8 & 0xff), static_cast<char>(size & 0xff)};
}

}  // namespace

std::string fastcgi_request(const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::string pairs;
  for (const auto& [name, value] : parameters) pairs += length(name.size()) + length(value.size()) + name + value;
  // The role is "responder"; the connection ends with the request.
  return record(begin_request, std::string("\0\1\0\0\0\0\0\0", 8)) + record(params, pairs) + record(params, "") +
         record(standard_input, "");
}

std::string receive_fastcgi_answer(Stream& stream) {
  std::string answer;
  for (;;) {
    const std::string head = stream.receive(8);
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(head[i]); };
    if (byte(0) != 1) throw Error(Failure::unavailable, "what listens there does not speak FastCGI");
    const std::string content = stream.receive(byte(4) * 256u + byte(5));
    stream.receive(byte(6));
    if (byte(1) == end_request) return answer;
    if (byte(1) == standard_output) answer += content;
    if (answer.size() > largest_answer) throw Error(Failure::unavailable, "the worker's answer does not end");
  }
}

int status_of_cgi_answer(std::string_view answer) {
  const auto end = answer.find("\r\n\r\n");
  if (end == answer.npos) return 0;
  constexpr std::string_view field = "Status: ";
  const auto at = answer.substr(0, end).find(field);
  if (at == answer.npos) return 200;
  int status = 0;
  std::from_chars(answer.data() + at + field.size(), answer.data() + end, status);
  return status;
}

}  // namespace nixery::doctor
