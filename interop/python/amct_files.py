"""AMCT's configuration and record files: google.protobuf and AMCT's own code against ours.

make FOLDER:   random messages of AMCT's own .proto files, as text by google.protobuf.text_format.
check FOLDER:  what Whittle wrote after reading them, read again by text_format.Merge, as AMCT does; and, for the
               simplified configurations in expand.json, AMCT's own full configuration beside ours.
"""

import json
import os
import random
import re
import struct
import sys
import types

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

import amct

BASE = os.path.join(os.environ['WHITTLE_AMCT'], 'amct_pytorch', 'classic', 'graph_based')
PROTO = os.path.join(BASE, 'amct_pytorch', 'proto')
FILES = {
    'calibration': ('calibration_config_pytorch.proto', 'AMCTPytorchProto.AMCTConfig'),
    'retrain': ('retrain_config_pytorch.proto', 'AMCTPytorchProto.AMCTRetrainConfig'),
    'record': ('scale_offset_record_pytorch.proto', 'AMCTPytorchProto.ScaleOffsetRecord'),
}
FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    name: getattr(FIELD, f'TYPE_{name.upper()}')
    for name in ('float', 'int32', 'uint32', 'int64', 'bool', 'string', 'bytes')
}


def tokens_of(path):
    with open(path, encoding='utf-8') as file:
        text = re.sub(r'//.*|/\*[\s\S]*?\*/', '', file.read())
    return re.findall(r'"[^"]*"|\'[^\']*\'|[\w.\-]+|[{}=;\[\]]', text)


class ProtoFile:
    """A reader of the part of proto2 that these files are written in."""

    def __init__(self, path, pool):
        self.tokens = tokens_of(path)
        self.at = 0
        self.file = descriptor_pb2.FileDescriptorProto(name=os.path.basename(path), syntax='proto2')
        self.pool = pool

    def take(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def read(self):
        while self.at < len(self.tokens):
            word = self.take()
            if word == 'syntax':
                self.at += 3
            elif word == 'package':
                self.file.package = self.take()
                self.at += 1
            elif word == 'import':
                self.file.dependency.append(os.path.basename(self.take().strip('"')))
                self.at += 1
            elif word == 'message':
                self.message(self.file.message_type.add())
            elif word == 'enum':
                self.enum(self.file.enum_type.add())
        self.pool.Add(self.file)

    def message(self, into):
        into.name = self.take()
        self.take()
        while (word := self.take()) != '}':
            if word == 'message':
                self.message(into.nested_type.add())
            elif word == 'enum':
                self.enum(into.enum_type.add())
            elif word == 'oneof':
                into.oneof_decl.add(name=self.take())
                self.take()
                while self.tokens[self.at] != '}':
                    self.field(into, FIELD.LABEL_OPTIONAL).oneof_index = len(into.oneof_decl) - 1
                self.take()
            else:
                self.field(into, getattr(FIELD, f'LABEL_{word.upper()}'))

    def field(self, into, label):
        kind, name, _, number = self.take(), self.take(), self.take(), self.take()
        field = into.field.add(name=name, number=int(number), label=label)
        if kind in SCALARS:
            field.type = SCALARS[kind]
        else:
            field.type_name = kind
        word = self.take()
        if word == '[':
            self.at += 2
            field.default_value = self.take().strip('"\'')
            self.at += 2
        return field

    def enum(self, into):
        into.name = self.take()
        self.take()
        while (word := self.take()) != '}':
            self.take()
            into.value.add(name=word, number=int(self.take()))
            self.take()


def classes():
    found = {}
    for name, (file, message) in FILES.items():
        pool = descriptor_pool.DescriptorPool()
        if name == 'record':
            ProtoFile(os.path.join(PROTO, 'basic_info.proto'), pool).read()
        ProtoFile(os.path.join(PROTO, file), pool).read()
        found[name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(message))
    return found


def text_value(rng):
    return ''.join(chr(rng.choice((rng.randrange(1, 128), rng.randrange(128, 0xD000)))) for _ in range(rng.randrange(10)))


def value(field, rng):
    if field.type == FIELD.TYPE_FLOAT:
        while True:
            x = struct.unpack('<f', struct.pack('<I', rng.getrandbits(32)))[0]
            if x == x:
                return x
    if field.type == FIELD.TYPE_INT32:
        return rng.randrange(-(2**31), 2**31)
    if field.type == FIELD.TYPE_UINT32:
        return rng.getrandbits(32)
    if field.type == FIELD.TYPE_INT64:
        return rng.randrange(-(2**63), 2**63)
    if field.type == FIELD.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == FIELD.TYPE_STRING:
        return text_value(rng)
    if field.type == FIELD.TYPE_BYTES:
        return rng.randbytes(rng.randrange(8))
    return rng.choice([each.number for each in field.enum_type.values])


def fill(message, rng):
    for field in message.DESCRIPTOR.fields:
        is_message = field.type == FIELD.TYPE_MESSAGE
        if field.is_repeated:
            for _ in range(rng.randrange(4)):
                if is_message:
                    fill(getattr(message, field.name).add(), rng)
                else:
                    getattr(message, field.name).append(value(field, rng))
        elif field.is_required or rng.random() < 0.6:
            if is_message:
                inner = getattr(message, field.name)
                inner.SetInParent()
                fill(inner, rng)
            else:
                setattr(message, field.name, value(field, rng))


def legal_record(record, rng):
    """Values that AMCT's own reader takes: scales within bounds, offsets of weights zero, layers once."""
    for index, entry in enumerate(record.record):
        entry.key = f'layer{index}'
        layer = entry.value
        for name in ('dst_type', 'act_type', 'wts_type'):
            layer.ClearField(name)
        layer.act_type = rng.choice(('INT8', 'INT16'))
        layer.scale_d = rng.uniform(1e-6, 10)
        layer.offset_d = rng.randrange(-128, 128)
        layer.scale_w[:] = [rng.uniform(1e-6, 1) for _ in range(rng.randrange(5))]
        layer.offset_w[:] = [0] * len(layer.scale_w)
        layer.tensor_balance_factor[:] = [rng.uniform(0.5, 2) for _ in range(rng.randrange(3))]


STYLES = ({}, {'as_one_line': True}, {'use_short_repeated_primitives': True}, {'pointy_brackets': True}, {'as_utf8': True})


def make(folder):
    made = []
    for kind, cls in classes().items():
        for number in range(60):
            rng = random.Random(number)
            message = cls()
            fill(message, rng)
            if kind == 'record':
                legal_record(message, rng)
            name = f'{kind}-{number}.txt'
            text = text_format.MessageToString(message, **STYLES[number % len(STYLES)])
            with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
                file.write(text)
            made.append({'kind': kind, 'name': name})
    print(json.dumps(made))


def same_float(a, b):
    """Two decimals of one float32 that are equally short."""
    names, values = zip(*(line.split(': ') for line in (a, b)))
    packed = [struct.pack('<f', float(value)) for value in values]
    return names[0] == names[1] and packed[0] == packed[1] and abs(len(values[0]) - len(values[1])) < 2


def problem_of(kind, cls, folder, name):
    texts = []
    for path in (name, f'ours-{name}'):
        with open(os.path.join(folder, path), encoding='utf-8') as file:
            texts.append(file.read())
    messages = [text_format.Merge(text, cls()) for text in texts]
    if messages[0].SerializeToString(deterministic=True) != messages[1].SerializeToString(deterministic=True):
        return f'{kind}: {name} came back different'
    plain = text_format.MessageToString(messages[0], as_utf8=True)
    lines = [plain.splitlines(), texts[1].splitlines()]
    different = [(a, b) for a, b in zip(*lines) if a != b and not same_float(a, b)]
    if different or len(lines[0]) != len(lines[1]):
        return f'{kind}: {name} is written differently: {different[:1]}'
    return None


class Querier:
    """What AMCT asks of a graph, answered from a list of layers and types."""

    def __init__(self, layers):
        self.layers = layers

    def named(self, *kinds):
        return [name for name, layer in self.layers.items() if layer['type'] in kinds]

    def get_name_type_dict(self, _):
        return {name: layer['type'] for name, layer in self.layers.items()}

    def get_support_quant_layers(self, _):
        return list(self.layers)

    def get_act_symmetric_limit_types(self):
        return ['Conv3d']

    def get_act_symmetric_limit_layers(self, _):
        return self.named('Conv3d')

    def get_support_dmq_balancer_types(self):
        return [kind for kind in self.types() if kind != 'AvgPool2d']

    def get_support_dmq_balancer_layers(self, _):
        return self.named(*self.get_support_dmq_balancer_types())

    def get_support_int16_quantizable_layers(self, _):
        return self.named('Conv2d', 'Linear', 'ConvTranspose2d', 'Conv1d')

    def get_ada_quant_layers(self, _):
        return self.named('Conv2d', 'Linear', 'ConvTranspose2d')

    def get_support_winograd_quant_layers(self, _):
        return self.named('Conv2d')

    def get_support_winograd_layer_types(self):
        return ['Conv2d']

    def check_int4_cin_pack_supported(self, _, layer):
        return self.layers[layer]['packs']

    def get_support_qat_layer2type(self, _):
        return {name: layer['type'] for name, layer in self.layers.items() if layer['type'] != 'AvgPool2d'}

    def get_support_prune_layer2type(self, _):
        return {name: self.layers[name]['type'] for name in self.named('Conv2d', 'Linear')}

    def get_support_selective_prune_layer2type(self, _):
        return {name: self.layers[name]['type'] for name in self.named('Conv2d', 'Linear', 'ConvTranspose2d')}

    def types(self):
        return sorted({layer['type'] for layer in self.layers.values()})


def amct_configs(found):
    """AMCT's ConfigBase and RetrainConfigBase, with what they import."""
    inner = f'{amct.PACKAGE}.amct_pytorch'
    folders = ('', '.common', '.common.config', '.common.retrain_config', '.common.utils', '.common.capacity')
    amct.module(amct.PACKAGE)
    for folder in folders:
        amct.module(f'{inner}{folder}')
    silent = types.SimpleNamespace(**{name: lambda *_, **__: None for name in ('logi', 'logw', 'loge', 'logd')})
    amct.module(f'{inner}.utils')
    amct.module(f'{inner}.utils.log', LOGGER=silent)
    calibration = types.SimpleNamespace(AMCTConfig=found['calibration'])
    retrain = types.SimpleNamespace(AMCTRetrainConfig=found['retrain'])
    amct.module(f'{inner}.proto', calibration_config_pb2=calibration, retrain_config_pb2=retrain)
    sys.modules.setdefault('torch', types.ModuleType('torch'))
    query = amct.load(f'{inner}.common.capacity.query_capacity', os.path.join(BASE, 'common', 'capacity', 'query_capacity.py'))
    capacity = query.Capacity(os.path.join(BASE, 'amct_pytorch', 'capacity', 'capacity_config.csv'))
    for name in ('amct_pytorch', 'amct_pytorch.classic', 'amct_pytorch.classic.graph_based', 'amct_pytorch.classic.graph_based.amct_pytorch'):
        amct.module(name)
    amct.module('amct_pytorch.classic.graph_based.amct_pytorch.capacity', CAPACITY=capacity)
    amct.module(f'{inner}.common.utils.files', create_empty_file=lambda path, **_: path)
    order = (
        'utils/util', 'utils/vars_util', 'config/field', 'config/proto_config', 'config/config_base',
        'retrain_config/retrain_field', 'retrain_config/retrain_proto', 'retrain_config/retrain_config_base',
    )
    made = {}
    for path in order:
        dotted = path.replace('/', '.')
        made[path] = amct.load(f'{inner}.common.{dotted}', os.path.join(BASE, 'common', f'{path}.py'))
    return capacity, made['config/config_base'], made['retrain_config/retrain_config_base']


def expansions(folder, found):
    with open(os.path.join(folder, 'expand.json'), encoding='utf-8') as file:
        job = json.load(file)
    capacity, quant, retrain = amct_configs(found)
    querier = Querier(job['layers'])
    problems = []
    for case in job['cases']:
        cfg, out = os.path.join(folder, 'case.cfg'), os.path.join(folder, 'case.json')
        with open(cfg, 'w', encoding='utf-8') as file:
            file.write(case['cfg'])
        module = quant if case['kind'] == 'calibration' else retrain
        objects = module.GraphObjects(graph_querier=querier, graph_checker=object())
        if case['kind'] == 'calibration':
            quant.ConfigBase(objects, capacity).create_config_from_proto(out, None, cfg)
        else:
            base = retrain.RetrainConfigBase(objects, capacity)
            base.set_ability(case['quantizes'], case['prunes'])
            base.create_config_from_proto(out, None, cfg)
        with open(out, encoding='utf-8') as file:
            theirs = json.load(file)
        ours = json.loads(case['json'])
        if theirs != ours:
            keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
            problems.append(f"{case['name']}: {keys[0]}: AMCT {json.dumps(theirs.get(keys[0]))}, ours {json.dumps(ours.get(keys[0]))}")
    return len(job['cases']), problems


def check(folder):
    found = classes()
    with open(os.path.join(folder, 'made.json'), encoding='utf-8') as file:
        made = json.load(file)
    problems = [problem_of(each['kind'], found[each['kind']], folder, each['name']) for each in made]
    problems = [problem for problem in problems if problem]
    count, more = expansions(folder, found)
    result = f'{len(made)} random files there and back with equal values, {count} configurations expanded as by AMCT'
    print(json.dumps({'problems': problems + more, 'found': result}))


{'make': make, 'check': check}[sys.argv[1]](sys.argv[2])
