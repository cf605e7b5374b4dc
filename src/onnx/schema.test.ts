import { describe, expect, it } from 'vitest'
import { oracleSchema } from '../../test/support/onnx-oracle.ts'
import * as schema from './schema.generated.ts'

describe('The generated tables', () => {
  it('hold every message and field that protoc finds in onnx.proto3', () => {
    const messages = oracleSchema()
    expect(
      Object.values(schema)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(messages.map(({ name }) => name).sort())
    for (const { name, fields } of messages) {
      const table = Object.values(schema).find((type) => type.name === name)!
      const ours = table.byNumber.filter((field) => field !== undefined)
      expect(
        ours.map((field) => [field.name, field.number]),
        name,
      ).toEqual(fields.toSorted((a, b) => a.number - b.number).map((field) => [field.name, field.number]))
      for (const field of fields) {
        const { packable } = ours.find(({ number }) => number === field.number)!
        expect(packable, `${name}.${field.name}`).toBe(field.list && field.scalar)
      }
    }
  })
})
