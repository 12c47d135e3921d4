// Files through the C++ interface: what is loaded, written, replaced, and which errors there are.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "cermet/cermet.h"
#include "folder.h"

using namespace cermet;
namespace fs = std::filesystem;

namespace {

std::string written(const std::function<void(const Sink&)>& write) {
  std::string text;
  write([&](std::span<const std::byte> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  return text;
}

}  // namespace

TEST_CASE("arrays of a file are lazy, and it may be replaced") {
  const Folder folder;
  const std::string path = folder / "a.safetensors";
  const array x = arange(0, 100000, 1, float32);
  save_safetensors(path, {{"x", x}, {"y", array({1, 2, 3})}}, {{"key", "value"}});
  const auto [arrays, metadata] = load_safetensors(path);
  CHECK(metadata.at("key") == "value");
  const array loaded = arrays.at("x");
  CHECK(!loaded.is_available());
  save_safetensors(path, {{"x", loaded + 1.0f}});
  CHECK(array_equal(loaded, x).item<bool>());
  CHECK(array_equal(load_safetensors(path).first.at("x"), x + 1.0f).item<bool>());
  CHECK(folder.size() == 1);
}

TEST_CASE("what is written to memory can be read from it") {
  const array x = reshape(arange(0, 24, 1, int32), {4, 6});
  const std::string npy = written([&](const Sink& out) { save(out, transpose(x)); });
  const array back = load(in_memory(std::as_bytes(std::span(npy)), "memory"));
  CHECK(back.is_available());
  CHECK(array_equal(back, transpose(x)).item<bool>());
  const std::string npz = written([&](const Sink& out) { save_npz(out, {{"b", x}, {"a", x}}); });
  const NamedArrays several =
      load_npz(in_memory(std::as_bytes(std::span(npz)), "memory"), Inflate());
  REQUIRE(several.size() == 2);
  CHECK(several[0].first == "b");
  CHECK(array_equal(several[1].second, x).item<bool>());
}

TEST_CASE("tensors and metadata of GGUF") {
  const Folder folder;
  const std::string path = folder / "a.gguf";
  const array x = reshape(arange(0, 100000, 1, float32), {1000, 100});
  const std::vector<GgufValue> texts{{std::string("a")}, {std::string()}};
  GgufMetadata metadata{{"text", {std::string("value")}}, {"texts", {texts}}};
  metadata.emplace("numbers", GgufValue{array({1, 2})});
  save_gguf(path, {{"x", x}, {"y", array(2.0f)}}, metadata);
  const auto [arrays, facts] = load_gguf(path);
  CHECK(!arrays.at("x").is_available());
  CHECK(array_equal(arrays.at("x"), x).item<bool>());
  CHECK(arrays.at("y").item<float>() == 2);
  CHECK(std::get<std::string>(facts.at("text").is) == "value");
  CHECK(std::get<std::vector<GgufValue>>(facts.at("texts").is).size() == 2);
  CHECK(std::get<array>(facts.at("numbers").is).shape() == Shape{2});
  CHECK_THROWS_AS(save_gguf(path, {{"x", astype(x, complex64)}}), std::invalid_argument);
  CHECK_THROWS_AS(load_gguf(in_memory({}, "memory")), FormatError);
  CHECK(folder.size() == 1);
}

TEST_CASE("a file stays where its replacement fails") {
  const Folder folder;
  const std::string path = folder / "file";
  const auto write = [&](const char* text, bool fails) {
    replace_file("write", path, [&](const Sink& out) {
      out(std::as_bytes(std::span(text, std::char_traits<char>::length(text))));
      if (fails) throw std::logic_error("it fails");
    });
  };
  write("old", false);
  CHECK_THROWS_AS(write("new", true), std::logic_error);
  std::string text;
  std::ifstream(path) >> text;
  CHECK(text == "old");
  CHECK(folder.size() == 1);
}

TEST_CASE("errors of files") {
  const Folder folder;
  const std::string path = folder / "a.npy";
  try {
    load(path);
    FAIL("there is no such file");
  } catch (const FileError& e) {
    CHECK(e.code().value() == ENOENT);
    CHECK(e.file() == path);
    CHECK(std::string(e.what()).starts_with("load: " + path));
  }
  std::ofstream(path) << "no npy file";
  CHECK_THROWS_AS(load(path), FormatError);

  save(path, arange(0, 100000, 1, float32));
  const array x = load(path);
  fs::resize_file(path, 1000);
  for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(x.eval(), FileError);
}
